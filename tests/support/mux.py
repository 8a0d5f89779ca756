# SPDX-License-Identifier: GPL-3.0-or-later
"""A multiplexor of its own in the foreground, with any worker program, and requests to it.

As root, it becomes `nobody`, as a site's becomes its own user; else it stays who it is.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import Program, wait_until

USER = "nobody" if os.geteuid() == 0 else None
AS_USER = ["-U", USER] if USER else []
COMMAND_LIMIT_S = 60
LONG_LIMIT_S = 100


class Mux:
    """A multiplexor in the foreground."""

    def __init__(self, spool: Path, *options: str, worker: Path) -> None:
        self.spool = spool
        self.path = spool / "mx.sock"
        self.program = Program(
            "defang-mux",
            [sys.executable, "-m", "defang_mux", *AS_USER, "-z", spool, "-s", self.path, "-f", worker, "-D", *options],
            log=spool / "log",
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self.program.wait_ready(f"unix:{self.path}")

    def ask(self, line: str, limit_s: float = COMMAND_LIMIT_S) -> str:
        return ask(self.path, line, limit_s)

    def ask_later(self, line: str) -> Asking:
        return Asking(self.path, line)

    def state(self) -> str:
        return self.ask("status").split()[0]

    def wait_queued(self, count: int) -> None:
        wait_until(lambda: self.ask("status").split()[4] == str(count), f"{count} queued requests")

    def go(self) -> None:
        (self.spool / "go").touch()


class Asking:
    """A request in a thread of its own."""

    def __init__(self, path: Path, line: str) -> None:
        self.reply = ""

        def run() -> None:
            self.reply = ask(path, line, LONG_LIMIT_S)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def wait(self) -> str:
        self._thread.join(LONG_LIMIT_S)
        return self.reply


def ask(path: Path, line: str, limit_s: float = COMMAND_LIMIT_S) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(limit_s)
        connection.connect(os.fspath(path))
        connection.sendall(line.encode() + b"\n")
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def write_program(path: Path, text: str) -> Path:
    """An executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return path


@contextmanager
def running_mux(spool: Path, *options: str, worker: Path, filter_fails: bool = False) -> Iterator[Mux]:
    """A multiplexor that runs, and has neither failed nor left anything when it is stopped."""
    mux = Mux(spool, *options, worker=worker)
    try:
        yield mux
    finally:
        mux.go()
        assert mux.program.stop() == 0
        assert not mux.path.exists()
        log = mux.program.log_text()
        assert filter_fails or "Traceback" not in log
        assert "Warning" not in log
