# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker in memory: pipes whose far ends the test holds, and a start that needs no process."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator, Sequence

import pytest
import trio

from defang_mux.process import starter
from defang_mux.process import template as template_module
from defang_mux.process.spawn import Program, TemplateProcess, close_all
from defang_mux.process.template import receive

READ_BYTES = 65536


class FakeProcess:
    """The worker's side of its pipes; `exit` is what a death looks like from outside."""

    def __init__(self, pid: int, theirs: Sequence[int]) -> None:
        self.pid = pid
        self.exit_status: int | None = None
        self.stdin, self.stdout, self.stderr, *status = map(os.dup, theirs)
        self.status = status[0] if status else None
        os.set_blocking(self.stdin, False)

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


class FakeTemplate:
    """The template's side of its socket."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exit_status: int | None = None
        ours, self._socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ours.setblocking(False)
        self._socket.setblocking(False)
        stderr, self._stderr = os.pipe()
        os.set_blocking(stderr, False)
        self.process = TemplateProcess(pid=pid, control=ours, stderr=stderr)

    def say(self, *packets: bytes) -> None:
        for packet in packets:
            self._socket.send(packet)

    def complain(self, text: bytes) -> None:
        os.write(self._stderr, text)

    def order(self) -> tuple[bytes, list[int]]:
        """The next order and its descriptors; BlockingIOError if there is none, b"" at the end."""
        packet, descriptors, _, _ = socket.recv_fds(self._socket, READ_BYTES, 8)
        return packet, descriptors

    def close(self) -> None:
        if self._stderr >= 0:
            self._socket.close()
            os.close(self._stderr)
            self._stderr = -1

    def exit(self, status: int = 0) -> None:
        self.exit_status = status
        self.close()


class FakeKernel:
    """Stands in for spawn, waitpid and kill, so that a crew can be tested without processes and without time."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.templates: list[FakeTemplate] = []
        self.senders: dict[bytes, int] = {}
        self.failing = False
        self.stillborn = False
        self.signals: list[tuple[int, int]] = []

    def spawn(self, _program: Program, theirs: Sequence[int]) -> int:
        if self.failing:
            raise FileNotFoundError(2, "No such file or directory")
        process = FakeProcess(40_000_000 + len(self.processes), theirs)
        self.processes.append(process)
        if self.stillborn:
            process.exit(255)
        return process.pid

    def spawn_template(self, _program: Program) -> TemplateProcess:
        if self.failing:
            raise FileNotFoundError(2, "No such file or directory")
        self.templates.append(FakeTemplate(30_000_000 + len(self.templates)))
        return self.templates[-1].process

    def fork(self, template: FakeTemplate) -> FakeProcess:
        """Has the template carry out its next order."""
        packet, descriptors = template.order()
        process = FakeProcess(40_000_000 + len(self.processes), descriptors)
        close_all(descriptors)
        self.processes.append(process)
        served = b"serving " + packet.removeprefix(b"fork ")
        self.senders[served] = process.pid
        template.say(served)
        return process

    def receive(self, control: socket.socket) -> tuple[bytes, int] | None:
        """As the kernel would, which knows who sent a packet."""
        found = receive(control)
        return found if not found or not found[0] else (found[0], self.senders.get(found[0], found[1]))

    def waitpid(self, pid: int, _flags: int) -> tuple[int, int]:
        if pid == -1:
            return 0, 0
        status = self.child(pid).exit_status
        return (0, 0) if status is None else (pid, status)

    def wait4(self, pid: int, flags: int) -> tuple[int, int, resource.struct_rusage]:
        return *self.waitpid(pid, flags), resource.getrusage(resource.RUSAGE_CHILDREN)

    def killpg(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))

    def process(self, pid: int) -> FakeProcess:
        return next(process for process in self.processes if process.pid == pid)

    def child(self, pid: int) -> FakeProcess | FakeTemplate:
        return next(one for one in self._all() if one.pid == pid)

    def _all(self) -> list[FakeProcess | FakeTemplate]:
        return [*self.processes, *self.templates]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    fake = FakeKernel()
    monkeypatch.setattr(starter, "spawn", fake.spawn)
    monkeypatch.setattr(template_module, "receive", fake.receive)
    monkeypatch.setattr(starter, "spawn_template", fake.spawn_template)
    monkeypatch.setattr(os, "waitpid", fake.waitpid)
    monkeypatch.setattr(os, "wait4", fake.wait4)
    monkeypatch.setattr(os, "killpg", fake.killpg)
    yield fake
    for process in fake._all():
        process.close()
