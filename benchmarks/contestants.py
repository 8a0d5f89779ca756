# SPDX-License-Identifier: GPL-3.0-or-later
"""The two that are compared, started with the same options: ours, and Debian's mimedefang with its embedded Perl."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Cost, read_cost, read_pss_mib
from tests.support.daemons import OUR_PROGRAMS, Chain, Daemons, Origin, private_home, running
from tests.support.process import descendants

FILTERS = Path(__file__).parent / "filters"
WORKERS = 2
# More sessions than workers have to wait for one, not to be sent away: the queue takes them at connect and at scan.
_MUX_OPTIONS = ("-m", str(WORKERS), "-x", str(WORKERS), "-w", "1", "-q", "64", "-Q", "60")
_MILTER_OPTIONS = ("-q",)
OURS, THEIRS = "defang", "mimedefang"
CHAINS = {
    OURS: Chain(filter=FILTERS / "filter.py", mux_options=_MUX_OPTIONS, milter_options=_MILTER_OPTIONS),
    THEIRS: Chain(
        filter=FILTERS / "filter.pl",
        milter=Origin.DEBIAN,
        mux=Origin.DEBIAN,
        worker=Origin.DEBIAN,
        mux_options=(*_MUX_OPTIONS, "-E"),
        milter_options=_MILTER_OPTIONS,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A running chain under its name."""

    name: str
    daemons: Daemons

    @property
    def address(self) -> str:
        """Where its milter listens."""
        return self.daemons.milter_address

    def cost(self) -> Cost:
        """CPU seconds spent so far."""
        milter, mux = self._pids()
        return read_cost(milter=milter, mux=mux)

    def pss_mib(self) -> float:
        """Memory of all its processes now."""
        milter, mux = self._pids()
        return read_pss_mib([milter, mux, *descendants(milter), *descendants(mux)])

    def _pids(self) -> tuple[int, int]:
        milter, mux = self.daemons.milter, self.daemons.mux
        assert milter is not None
        assert mux is not None
        return milter.pid, mux.pid


@contextmanager
def contestants(names: list[str]) -> Iterator[list[Contestant]]:
    """The named ones, running, each in a directory of its own."""
    with ExitStack() as stack:
        found = []
        for name in names:
            home = stack.enter_context(private_home(f"bench-{name}-"))
            found.append(Contestant(name=name, daemons=stack.enter_context(running(CHAINS[name], home=home))))
        yield found


def version(name: str) -> str:
    """Name and version of a contestant, as its own front end tells it."""
    argv = [str({OURS: OUR_PROGRAMS / "defang-milter", THEIRS: "/usr/bin/mimedefang"}[name]), "-v"]
    output = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    found = re.search(r"\d[\w.+-]*", output.stdout + output.stderr)
    if found is None:
        raise RuntimeError(f"{argv} tells no version: {output}")
    return f"{name} {found[0]}"
