# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting, watching and ending the programs under test: each in a session of its own, its output in a file.

Every wait is bounded and polls a condition; nothing is ended but what was started here, by its process ID.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

POLL_S = 0.02
# Debian's mimedefang and multiplexor need up to 18 s to end (protocol.md, stopping), ours less.
STOP_LIMIT_S = 60.0
READY_LIMIT_S = 60.0
# The flags in /proc/net/unix (proc(5)) of a socket after listen(2): __SO_ACCEPTCON of Linux.
_ACCEPTS = "00010000"


class ProgramError(Exception):
    """A program did not start, ended by itself, or left something behind; the message quotes the end of its log."""


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = READY_LIMIT_S) -> None:
    """Poll until the condition holds; ProgramError naming `what` after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise ProgramError(f"waited {limit_s} s in vain: {what}")
        time.sleep(POLL_S)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(address: str) -> bool:
    """Whether somebody listens at `unix:PATH`, a path alone, or `inet:PORT@HOST`."""
    kind, colon, rest = address.partition(":")
    port, _, host = rest.partition("@")
    is_unix = not colon or kind == "unix"
    with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET) as probe:
        probe.settimeout(READY_LIMIT_S)
        try:
            probe.connect((rest if colon else address) if is_unix else (host, int(port)))
        except OSError:
            return False
    return True


def listens(path: Path) -> bool:
    """Whether somebody listens at a unix socket; seen without a connection, which might count as a request."""
    sockets = (line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines())
    return any(fields[3] == _ACCEPTS and fields[7:] == [str(path)] for fields in sockets)


def session_members(session: int) -> list[int]:
    """The processes, zombies left out, of a session: of a program that was started here and all that it started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            # Behind the command's name, which may hold anything: state, parent, group, session (proc(5)).
            state, _, _, member_of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(member_of) == session and state != "Z":
                found.append(int(entry.name))
    return found


def is_dead(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has yet asked how: not every process 1 does so soon."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def descendants(pid: int) -> list[int]:
    """The living children of a process, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


class Program:
    """A program running in the foreground; `log` gets its standard output and error."""

    def __init__(
        self, name: str, argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self.may_overlook_term = False
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.pid = self._child.pid
        self._children: list[int] = []

    def running(self) -> bool:
        return self._child.poll() is None

    def wait_ready(self, address: str, limit_s: float = READY_LIMIT_S) -> None:
        """Until `address` accepts connections; ProgramError at once if the program ends before."""
        self._wait_ready(lambda: accepts_connections(address), address, limit_s)

    def wait_listens(self, path: Path, limit_s: float = READY_LIMIT_S) -> None:
        """As `wait_ready`, without a connection."""
        self._wait_ready(lambda: listens(path), str(path), limit_s)

    def _wait_ready(self, is_ready: Callable[[], bool], address: str, limit_s: float) -> None:
        def ready_or_dead() -> bool:
            return not self.running() or is_ready()

        wait_until(ready_or_dead, f"{self.name} does not listen on {address}; {self.log_end()}", limit_s)
        if not self.running():
            raise ProgramError(f"{self.name} ended with status {self._child.returncode}; {self.log_end()}")

    def wait_log(self, pattern: str, limit_s: float = READY_LIMIT_S) -> re.Match[str]:
        """The first match of a regular expression in the log, waiting for it."""
        wait_until(
            lambda: re.search(pattern, self.log_text()) is not None, f"{pattern!r} in the log of {self.name}", limit_s
        )
        match = re.search(pattern, self.log_text())
        if match is None:
            raise ProgramError(f"the log of {self.name} lost {pattern!r}")
        return match

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; what it started lives on."""
        self._note_children()
        self._child.kill()
        self._child.wait(STOP_LIMIT_S)

    def stop(self, limit_s: float = STOP_LIMIT_S) -> int:
        """TERM and, after the limit, KILL. The exit status; ProgramError if it had to be killed or left a process."""
        self._note_children()
        if self.running():
            self._child.terminate()
        try:
            if self.may_overlook_term:
                with suppress(subprocess.TimeoutExpired):
                    self._child.wait(limit_s / 4)
                self._child.terminate()
            status = self._child.wait(limit_s)
            wait_until(lambda: not self.alive(), f"{self.name} left processes", limit_s)
        except (subprocess.TimeoutExpired, ProgramError) as error:
            for member in self.alive():
                with suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
            self._child.wait(limit_s)
            raise ProgramError(f"{self.name} did not stop within {limit_s} s: {error}; {self.log_end()}") from None
        return status

    def alive(self) -> list[int]:
        """What lives of its session, and of the processes it had started by `stop` or `kill`, in whatever session."""
        return [*session_members(self.pid), *(pid for pid in self._children if not is_dead(pid))]

    def _note_children(self) -> None:
        self._children = descendants(self.pid)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def log_end(self) -> str:
        return f"its log ends:\n{self.log_text()[-2000:]}"
