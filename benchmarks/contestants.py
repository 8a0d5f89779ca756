# SPDX-License-Identifier: GPL-3.0-or-later
"""The two that are compared, started with the same options: ours, and Debian's mimedefang with its embedded Perl."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.processes import Cost, Memory, read_cost, read_memory
from defang_worker.trial.mta_message import Message
from tests.support.daemons import MX_CTRL, OUR_PROGRAMS, Chain, Daemons, Origin, private_home, running
from tests.support.process import wait_until

FILTERS = Path(__file__).parent / "filters"
DEFAULT_WORKERS = 2
_MILTER_OPTIONS = ("-q",)
OURS, THEIRS = "defang", "mimedefang"
_FILTERS = {OURS: FILTERS / "filter.py", THEIRS: FILTERS / "filter.pl"}
NAMES = tuple(_FILTERS)
ORIGINS = {OURS: Origin.OURS, THEIRS: Origin.DEBIAN}


def pool_options(workers: int) -> tuple[str, ...]:
    """Of a multiplexor with that many workers."""
    # More sessions than workers have to wait for one, not to be sent away: the queue takes them at connect and at scan.
    return ("-m", str(workers), "-x", str(workers), "-w", "1", "-q", "64", "-Q", "60")


def chain_of(name: str, workers: int) -> Chain:
    """The programs of a contestant and their options."""
    options = pool_options(workers)
    if name == OURS:
        return Chain(filter=_FILTERS[name], mux_options=options, milter_options=_MILTER_OPTIONS)
    return Chain(
        filter=_FILTERS[name],
        milter=Origin.DEBIAN,
        mux=Origin.DEBIAN,
        worker=Origin.DEBIAN,
        mux_options=(*options, "-E"),
        milter_options=_MILTER_OPTIONS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A running chain under its name."""

    name: str
    daemons: Daemons

    @property
    def address(self) -> str:
        """Where its milter listens."""
        return self.daemons.milter_address

    def load(self, message: Message, count: int, sessions: int) -> load.Timing:
        """How long that many messages took, in so many sessions at a time. LoadFailed, with the end of its log."""
        try:
            return load.run(load.Load(address=self.address, message=message, count=count, sessions=sessions))
        except load.LoadFailed as error:
            raise load.LoadFailed(f"{self.name}: {error}; its log ends:\n{self.daemons.logs()[-2000:]}") from error

    def cost(self) -> Cost:
        """CPU seconds spent so far."""
        milter, mux = self._pids()
        return read_cost(milter=milter, mux=mux)

    def memory(self) -> Memory:
        """What all its processes have now."""
        milter, mux = self._pids()
        return read_memory(milter=milter, mux=mux)

    def wait_for_workers(self, count: int) -> None:
        """Until that many run: the multiplexors start them one a second."""

        def all_run() -> bool:
            return self._asked("rawstatus").split()[0].count("S") == 0

        wait_until(all_run, f"{count} workers of {self.name}", limit_s=10.0 + 2 * count)

    def scans(self, worker: int) -> int:
        """How many messages a worker has filtered."""
        lines = self._asked("workerinfo", str(worker)).splitlines()
        return next(int(value) for word, _, value in (line.partition(" ") for line in lines) if word == "NumScans")

    def _asked(self, *words: str) -> str:
        asked = [str(MX_CTRL[Origin.OURS]), "-s", str(self.daemons.mux_socket), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout

    def _pids(self) -> tuple[int, int]:
        milter, mux = self.daemons.milter, self.daemons.mux
        assert milter is not None
        assert mux is not None
        return milter.pid, mux.pid


@contextmanager
def contestants(names: list[str], *, workers: int) -> Iterator[list[Contestant]]:
    """The named ones, running with that many workers, each in a directory of its own."""
    with started({name: chain_of(name, workers) for name in names}, workers=workers) as found:
        yield found


@contextmanager
def started(chains: Mapping[str, Chain], *, workers: int) -> Iterator[list[Contestant]]:
    """The same for any chains by their names, which have that many workers."""
    with ExitStack() as stack:
        found = []
        for name, chain in chains.items():
            home = stack.enter_context(private_home(f"bench-{name}-"))
            daemons = stack.enter_context(running(chain, home=home))
            found.append(Contestant(name=name, daemons=daemons))
        for one in found:
            one.wait_for_workers(workers)
        yield found


def version(name: str) -> str:
    """Name and version of a contestant, as its own front end tells it."""
    argv = [str({OURS: OUR_PROGRAMS / "defang-milter", THEIRS: "/usr/bin/mimedefang"}[name]), "-v"]
    output = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    found = re.search(r"\d[\w.+-]*", output.stdout + output.stderr)
    if found is None:
        raise RuntimeError(f"{argv} tells no version: {output}")
    return f"{name} {found[0]}"
