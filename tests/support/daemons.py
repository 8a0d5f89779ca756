# SPDX-License-Identifier: GPL-3.0-or-later
"""Milter, multiplexor and worker, ours or Debian's in any combination, on a private spool directory.

The command-line letters are the same for both (protocol.md). The daemons run in the foreground as the user `defang`,
which is made if it is missing; so root has to start them.
"""

from __future__ import annotations

import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from tests.support.process import Program, ProgramError, descendants, wait_until

USER = "defang"
# Sendmail trusts no socket below a directory that everybody may write to, as /tmp is. And the path of a unix socket
# has at most 107 bytes.
BASE_DIR = Path("/run")
OUR_PROGRAMS = Path(sys.prefix) / "bin"


class Origin(Enum):
    """Whose program it is."""

    OURS = "ours"
    DEBIAN = "debian"


MX_CTRL = {Origin.OURS: OUR_PROGRAMS / "md-mx-ctrl", Origin.DEBIAN: Path("/usr/bin/md-mx-ctrl")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Which three programs, with which site filter (Python for our worker, Perl for Debian's) and options.

    `milter_socket` is `unix:NAME` (made below the spool) or `inet:PORT@127.0.0.1`. `programs` is where ours are.
    """

    filter: Path
    milter: Origin = Origin.OURS
    mux: Origin = Origin.OURS
    worker: Origin = Origin.OURS
    milter_options: tuple[str, ...] = ()
    mux_options: tuple[str, ...] = ("-x", "2", "-l")
    milter_socket: str = "unix:milter.sock"
    programs: Path = OUR_PROGRAMS

    def program(self, origin: Origin, ours: str, debians: str) -> Path:
        """The path of a program, by the name that it has with us or with Debian."""
        return self.programs / ours if origin is Origin.OURS else Path("/usr/bin") / debians

    def __str__(self) -> str:
        return f"{self.milter.value}-{self.mux.value}-{self.worker.value}"


class Daemons:
    """The running chain. Milter and multiplexor may be stopped, killed and started again one by one."""

    def __init__(self, chain: Chain, home: Path, spool: Path, environment: Mapping[str, str] | None = None) -> None:
        self.chain = chain
        self._environment = environment
        self.home = home
        self.spool = spool
        self.mux_socket = spool / "mimedefang-multiplexor.sock"
        kind, _, rest = chain.milter_socket.partition(":")
        self.milter_address = f"unix:{spool / rest}" if kind == "unix" else chain.milter_socket
        self._filter = home / f"filter{chain.filter.suffix}"
        shutil.copy(chain.filter, self._filter)
        self._filter.chmod(0o644)
        self._worker = chain.program(chain.worker, "defang-worker", "mimedefang.pl")
        self._worker_now = self._worker
        self.mux: Program | None = None
        self.milter: Program | None = None

    def start_mux(self, *, worker: Path | None = None) -> Program:
        """Start the multiplexor, with another worker program if given; returns once it accepts connections.

        Not tried by connecting: MIMEDefang's takes each connection for a request, and gives it a worker.
        """
        self._worker_now = worker or self._worker
        program = self.chain.program(self.chain.mux, "defang-mux", "mimedefang-multiplexor")
        argv: list[str | Path] = [program, "-D", "-U", USER, "-z", self.spool, "-s", self.mux_socket]
        argv += ["-f", self._worker_now, "-F", self._filter]
        argv += self.chain.mux_options
        self.mux = Program("multiplexor", argv, log=self.home / "mux.log", env=self._environment)
        # MIMEDefang's was seen to, in the moment in which it replaced a worker.
        self.mux.may_overlook_term = self.chain.mux is Origin.DEBIAN
        self.mux.wait_listens(self.mux_socket)
        return self.mux

    def start_milter(self) -> Program:
        """Start the milter; returns once it accepts connections."""
        program = self.chain.program(self.chain.milter, "defang-milter", "mimedefang")
        argv: list[str | Path] = [program, "-D", "-U", USER, "-z", self.spool, "-m", self.mux_socket]
        argv += ["-p", self.milter_address, *self.chain.milter_options]
        self.milter = Program("milter", argv, log=self.home / "milter.log", env=self._environment)
        self.milter.wait_ready(self.milter_address)
        return self.milter

    def repair(self) -> None:
        """Start what a test killed or stopped, and see to it that the multiplexor has its own worker program."""
        if self.mux and self.mux.running() and self._worker_now != self._worker:
            self.mux.stop()
        if self.mux is None or not self.mux.running():
            self.start_mux()
        if self.milter is None or not self.milter.running():
            self.start_milter()

    def workers(self) -> list[int]:
        """The process IDs of the workers that run."""
        return descendants(self.mux.pid) if self.mux else []

    def work_dirs(self) -> list[Path]:
        """The working directories of messages now in the spool."""
        return sorted(self.spool.glob("mdefang-*"))

    def stock(self) -> list[Path]:
        """What our milter has kept for large messages to come: directories and the files in them."""
        return sorted(self.spool.glob("stock-*")) + sorted(self.spool.glob("stock-*/*"))

    def logs(self) -> str:
        """What both daemons wrote, Debian's to the system's logger (syslog.py keeps that in `home` too)."""
        lines = [line for path in ("mux.log", "milter.log") for line in _lines(self.home / path)]
        return "".join([*lines, *(line for line in _lines(self.home / "syslog.log") if " mimedefang" in line)])

    def stop(self) -> None:
        """Stop what runs. ProgramError if it had to be killed, or a process, socket or working directory is left."""
        # MIMEDefang's front end gives up at once what it has in work. That may be a session of which the test has seen
        # the end, and it not yet; what is still there in the end is found below.
        with suppress(ProgramError):
            wait_until(lambda: not self.work_dirs(), "no message is in work", 10)
        was_running = self.milter is not None and self.milter.running()
        with ExitStack() as stack:
            for program in (self.mux, self.milter):
                if program is not None and program.running():
                    stack.callback(program.stop)
        # MIMEDefang's worker may go on behind an `error:` answer, and its front end leaves what then appears in a
        # directory that it is removing. Ours tries again, and our worker has done when it answers.
        if Origin.OURS in (self.chain.milter, self.chain.worker):
            wait_until(lambda: not self.work_dirs(), f"{self.work_dirs()} left in the spool; {self.logs()[-2000:]}", 10)
        left = [path.name for path in self.spool.glob("*.sock")]
        if was_running:
            left += [path.name for path in self.stock()]
        if left:
            raise ProgramError(f"left in the spool: {left}")


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines(keepends=True) if log.exists() else []


def ensure_user(name: str = USER) -> None:
    """Make the system user (and a group of its name) unless it exists."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        subprocess.run(
            ["useradd", "--system", "--user-group", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name],
            check=True,
        )


@contextmanager
def private_home(prefix: str = "defang-") -> Iterator[Path]:
    """An empty directory that every user may enter and root alone may write to; removed with all in it."""
    home = Path(tempfile.mkdtemp(prefix=prefix, dir=BASE_DIR))
    try:
        home.chmod(0o755)
        yield home
    finally:
        shutil.rmtree(home)


def make_spool(path: Path) -> None:
    """A spool directory as a package would make it: the daemons' user's own, closed to others."""
    ensure_user()
    path.mkdir(exist_ok=True)
    shutil.chown(path, USER, USER)
    path.chmod(0o750)


@contextmanager
def running(
    chain: Chain, *, home: Path, spool: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Daemons]:
    """Multiplexor and milter running below `home` (spool: `home`/spool); stopped, and what they leave checked."""
    if spool is None:
        spool = home / "spool"
    make_spool(spool)
    daemons = Daemons(chain, home, spool, environment)
    try:
        daemons.start_mux()
        daemons.start_milter()
        yield daemons
    finally:
        daemons.stop()


def all_chains(python_filter: Path, perl_filter: Path) -> list[Chain]:
    """The eight combinations of ours and Debian's, each with the filter that its worker understands."""
    ours = Chain(filter=python_filter)
    return [
        replace(
            ours,
            milter=milter,
            mux=mux,
            worker=worker,
            filter=python_filter if worker is Origin.OURS else perl_filter,
        )
        for milter in Origin
        for mux in Origin
        for worker in Origin
    ]
