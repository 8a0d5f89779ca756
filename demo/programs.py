# SPDX-License-Identifier: GPL-3.0-or-later
"""Multiplexor and milter as children of this process, on a private spool; as a user of their own if we are root.

Leaving the `with` block stops the milter first, then the multiplexor, and removes everything. What they log goes to
files in the same directory.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

FILTER = Path(__file__).parent.parent / "docs" / "filters" / "suggested_minimum.py"
DAEMON_USER = "defang"
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.01
# Enough to see a traceback whole.
LOG_TAIL_LINES = 40


class ProgramError(Exception):
    """A program did not start, ended by itself or did not stop; the text ends with its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in lines)


class Programs:
    """The running pair. `milter_address` is where an MTA, or `tests.support.mta`, reaches it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="defang-demo-"))
        self.spool = self.directory / "spool"
        self.port = _free_port()
        self.milter_address = f"inet:{self.port}@127.0.0.1"
        self._mux_socket = self.spool / "mimedefang-multiplexor.sock"
        self._running: list[_Program] = []

    def __enter__(self) -> Self:
        try:
            self._prepare_spool()
            self._start("defang-mux", "-l", "-F", str(FILTER), "-s", str(self._mux_socket))
            self._start("defang-milter", "-m", str(self._mux_socket), "-p", self.milter_address)
            self._wait_for(socket.AF_UNIX, str(self._mux_socket))
            self._wait_for(socket.AF_INET, ("127.0.0.1", self.port))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            while self._running:
                _stop(self._running.pop())
        finally:
            shutil.rmtree(self.directory)

    def check(self) -> None:
        """Raise ProgramError if one of them has ended."""
        for program in self._running:
            status = program.process.poll()
            if status is not None:
                raise ProgramError(f"{program.name} ended with status {status}\n{program.tail()}")

    def log(self) -> str:
        """What they said last."""
        return "\n".join(program.tail() for program in self._running)

    def _prepare_spool(self) -> None:
        self.directory.chmod(0o755)
        self.spool.mkdir(mode=0o750)
        if os.geteuid() == 0:
            user = pwd.getpwnam(DAEMON_USER)
            os.chown(self.spool, user.pw_uid, user.pw_gid)

    def _start(self, name: str, *options: str) -> None:
        program = Path(sys.prefix) / "bin" / name
        as_user = ["-U", DAEMON_USER] if os.geteuid() == 0 else []
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            # A session of its own: Ctrl-C on the terminal is for us, and we end the programs in their order.
            process = subprocess.Popen(
                [program, "-D", "-z", str(self.spool), *as_user, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._running.append(_Program(name=name, process=process, log=log))

    def _wait_for(self, family: int, address: str | tuple[str, int]) -> None:
        """Return as soon as the address accepts connections."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(address) == 0:
                    return
            self.check()
            if time.monotonic() > deadline_s:
                raise ProgramError(f"nothing listens on {address} after {START_TIMEOUT_S:g} s\n{self.log()}")
            time.sleep(POLL_INTERVAL_S)


def _stop(program: _Program) -> None:
    program.process.terminate()
    try:
        program.process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        program.process.kill()
        program.process.wait()
        raise ProgramError(f"{program.name} did not stop within {STOP_TIMEOUT_S:g} s\n{program.tail()}") from None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
