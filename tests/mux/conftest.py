# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker in memory: pipes whose far ends the test holds, and a start that needs no process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import trio

from defang_mux.process import crew as crew_module
from defang_mux.process.spawn import Child, Program

READ_BYTES = 65536


class FakeProcess:
    """The worker's side of its pipes; `exit` is what a death looks like from outside."""

    def __init__(self, pid: int, *, status_tags: bool = False) -> None:
        self.pid = pid
        self.exit_status: int | None = None
        pipes = [os.pipe() for _ in range(4 if status_tags else 3)]
        self.stdin = pipes[0][0]
        self.stdout, self.stderr, *status = (pipe[1] for pipe in pipes[1:])
        self.status = status[0] if status else None
        ours = [pipes[0][1], *(pipe[0] for pipe in pipes[1:])]
        for descriptor in (*ours, self.stdin):
            os.set_blocking(descriptor, False)
        self.child = Child(
            pid=pid, stdin=ours[0], stdout=ours[1], stderr=ours[2], status=ours[3] if status_tags else None
        )

    async def read_line(self) -> bytes:
        """The next request, without its newline; b"" at the end of input."""
        await trio.lowlevel.wait_readable(self.stdin)
        return os.read(self.stdin, READ_BYTES).rstrip(b"\n")

    def say(self, answer: bytes) -> None:
        os.write(self.stdout, answer)

    def complain(self, text: bytes) -> None:
        os.write(self.stderr, text)

    def close(self) -> None:
        for name in ("stdin", "stdout", "stderr", "status"):
            descriptor = getattr(self, name)
            if descriptor is not None:
                os.close(descriptor)
                setattr(self, name, None)

    def exit(self, status: int = 0) -> None:
        """Ends; `Crew.reap` then finds it."""
        self.exit_status = status << 8
        self.close()


class FakeKernel:
    """Stands in for spawn, waitpid and kill, so that a crew can be tested without processes and without time."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.failing = False
        self.stillborn = False
        self.signals: list[tuple[int, int]] = []

    def spawn(self, program: Program) -> Child:
        if self.failing:
            raise FileNotFoundError(2, "No such file or directory")
        process = FakeProcess(40_000_000 + len(self.processes), status_tags=program.status_tags)
        self.processes.append(process)
        if self.stillborn:
            process.exit(255)
        return process.child

    def waitpid(self, pid: int, _flags: int) -> tuple[int, int]:
        status = self.process(pid).exit_status
        return (0, 0) if status is None else (pid, status)

    def killpg(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))

    def process(self, pid: int) -> FakeProcess:
        return next(process for process in self.processes if process.pid == pid)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    fake = FakeKernel()
    monkeypatch.setattr(crew_module, "spawn", fake.spawn)
    monkeypatch.setattr(os, "waitpid", fake.waitpid)
    monkeypatch.setattr(os, "killpg", fake.killpg)
    yield fake
    for process in fake.processes:
        process.close()
