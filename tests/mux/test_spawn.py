# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker finds when it starts: arguments, pipes, descriptors, signals, process group. Real children."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from defang_mux.process.rlimits import NO_LIMITS, WorkerLimits
from defang_mux.process.spawn import Pipes, Program, close_all, keep_from_workers, open_pipes, spawn, spawn_template

# Prints what it is as one line of JSON, and then lives until the end of input.
PROBE = f"""#!{sys.executable}
import json, os, signal, sys
print(json.dumps({{
    "argv": sys.argv,
    "open": sorted(int(name) for name in os.listdir("/dev/fd")),
    "blocking": [os.get_blocking(number) for number in (0, 1, 2)],
    "group": os.getpgrp() == os.getpid(),
    "session": os.getsid(0),
    "cwd": os.getcwd(),
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "default": [signal.getsignal(number) == signal.SIG_DFL for number in (15, 17, 1)],
    "ignored": [line.split()[1] for line in open("/proc/self/status") if line.startswith("SigIgn")],
    "mark": os.environ.get("DEFANG_TEST_MARK"),
}}), flush=True)
sys.stderr.write("to stderr\\n")
if len(sys.argv) > 1 and sys.argv[-1] == "-serveru":
    os.write(3, b"a tag\\n")
sys.stdin.read()
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(spool: Path) -> Write:
    def write_program(text: str) -> Path:
        path = spool / "worker.py"
        path.write_text(text)
        path.chmod(0o755)
        return path

    return write_program


async def read_line(descriptor: int) -> bytes:
    data = b""
    while b"\n" not in data:
        await trio.lowlevel.wait_readable(descriptor)
        more = os.read(descriptor, 65536)
        if not more:
            break
        data += more
    return data


def open_descriptors() -> list[str]:
    return sorted(entry.name for entry in Path("/dev/fd").iterdir())


@dataclass
class Child:
    pid: int
    pipes: Pipes


def start(
    path: Path, *, rules: Path | None = None, status_tags: bool = False, limits: WorkerLimits = NO_LIMITS
) -> Child:
    pipes = open_pipes(status_tags=status_tags)
    try:
        return Child(
            spawn(Program(path=path, rules=rules, status_tags=status_tags, limits=limits), pipes.theirs), pipes
        )
    except OSError:
        close(pipes)
        raise
    finally:
        close_all(pipes.theirs)


def close(pipes: Pipes) -> None:
    close_all([pipes.stdin])
    close_outputs(pipes)


def close_outputs(pipes: Pipes) -> None:
    close_all([end for end in (pipes.stdout, pipes.stderr, pipes.status) if end is not None])


def end(child: Child) -> int:
    close_all([child.pipes.stdin])
    _, status = os.waitpid(child.pid, 0)
    close_outputs(child.pipes)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize(
    ("rules", "status_tags", "argv", "descriptors"),
    [
        (None, False, ["-server"], [0, 1, 2]),
        (Path("/etc/filter.py"), False, ["-f", "/etc/filter.py", "-server"], [0, 1, 2]),
        (Path("/etc/filter.py"), True, ["-f", "/etc/filter.py", "-serveru"], [0, 1, 2, 3]),
    ],
)
async def test_worker_finds_its_arguments_and_nothing_open_but_its_pipes(  # noqa: PLR0917  # fixtures
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    spool: Path,
    rules: Path | None,
    status_tags: bool,
    argv: list[str],
    descriptors: list[int],
) -> None:
    monkeypatch.setenv("DEFANG_TEST_MARK", "x")
    with (spool / "inherited").open("w") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        await check_start(write, rules=rules, status_tags=status_tags, argv=argv, descriptors=descriptors)


async def check_start(
    write: Write, *, rules: Path | None, status_tags: bool, argv: list[str], descriptors: list[int]
) -> None:
    keep_from_workers()
    path = write(PROBE)
    child = start(path, rules=rules, status_tags=status_tags)
    found: dict[str, Any] = json.loads(await read_line(child.pipes.stdout))
    assert found["argv"][1:] == argv
    # One more is the listing of descriptors itself.
    assert found["open"][: len(descriptors)] == descriptors
    assert len(found["open"]) == len(descriptors) + 1
    assert found["blocking"] == [True, True, True]
    assert found["group"]
    assert found["session"] == os.getsid(0)
    assert found["cwd"] == str(Path.cwd())
    assert found["mask"] == []
    assert found["default"] == [True, True, True]
    assert found["mark"] == "x"
    assert await read_line(child.pipes.stderr) == b"to stderr\n"
    if child.pipes.status is not None:
        assert await read_line(child.pipes.status) == b"a tag\n"
    assert end(child) == 0


async def test_pipe_signal_stays_ignored_in_workers(write: Write) -> None:
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    child = start(write("#!/bin/sh\ngrep SigIgn /proc/self/status\n"))
    mask = int((await read_line(child.pipes.stdout)).split()[1], 16)
    assert mask & 1 << (signal.SIGPIPE - 1)
    end(child)


async def test_hang_up_ignored_by_us_is_not_ignored_by_workers(write: Write) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        child = start(write("#!/bin/sh\ngrep SigIgn /proc/self/status\n"))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not int((await read_line(child.pipes.stdout)).split()[1], 16) & 1 << (signal.SIGHUP - 1)
    end(child)


@pytest.mark.parametrize("name", ["missing", "no-interpreter"])
def test_program_that_cannot_be_executed_leaves_no_descriptor(spool: Path, name: str) -> None:
    path = spool / name
    if name == "no-interpreter":
        path.write_text("#!/no/such/interpreter\n")
        path.chmod(0o755)
    before = open_descriptors()
    with pytest.raises(OSError, match="No such file"):
        start(path, status_tags=True)
    assert open_descriptors() == before


@pytest.mark.parametrize("missing", ["program", "descriptor"])
def test_template_that_cannot_be_started_leaves_no_descriptor(
    spool: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = open_descriptors()
    with monkeypatch.context() as patched:
        if missing == "descriptor":
            patched.setattr(os, "open", refuse)
        with pytest.raises(OSError, match="No such file" if missing == "program" else "Too many open files"):
            spawn_template(Program(path=spool / "missing", rules=None, status_tags=False))
    assert open_descriptors() == before


KIB = 1024
LIMITS = WorkerLimits(total_bytes=500_000 * KIB, resident_bytes=200_000 * KIB)


def test_limits_on_memory_hold_for_the_worker_and_not_for_us(write: Write) -> None:
    ours = resource.getrlimit(resource.RLIMIT_AS)
    child = start(write(PROBE), limits=LIMITS)
    total, resident = LIMITS.total_bytes, LIMITS.resident_bytes
    assert resource.prlimit(child.pid, resource.RLIMIT_AS) == (total, total)
    assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == (total, total)
    assert resource.prlimit(child.pid, resource.RLIMIT_RSS) == (resident, resident)
    assert resource.getrlimit(resource.RLIMIT_AS) == ours
    assert end(child) == 0


def test_a_limit_above_what_the_system_allows_is_that(write: Write) -> None:
    child = start(write(PROBE), limits=LIMITS)
    WorkerLimits(total_bytes=2 * LIMITS.total_bytes).apply(child.pid)
    assert resource.prlimit(child.pid, resource.RLIMIT_AS) == (LIMITS.total_bytes, LIMITS.total_bytes)
    assert end(child) == 0


def test_a_worker_that_cannot_be_limited_does_not_start(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    before = open_descriptors()
    monkeypatch.setattr(resource, "prlimit", refuse)
    with pytest.raises(PermissionError):
        start(write(PROBE), limits=LIMITS)
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
