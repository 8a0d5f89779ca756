# SPDX-License-Identifier: GPL-3.0-or-later
"""Other programs, for filters: `run` gives one some bytes and takes what it makes of them.

By argument vector, without a shell; within a time limit, after which the program and all that it started are killed;
with an end to what it may put out. `Part.filter_through` is this for a part's content. Starting a program takes some
milliseconds, so it is nothing for every message.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

__all__ = ["DEFAULT_MAX_OUTPUT_BYTES", "DEFAULT_TIMEOUT_S", "ProgramFailed", "run"]

DEFAULT_TIMEOUT_S: Final = 30.0
"""How long a program may take: less than the multiplexor's limit for a whole scan."""

DEFAULT_MAX_OUTPUT_BYTES: Final = 64 * 1024 * 1024
"""How much it may put out: as large as mail gets."""

# Of what it says on standard error, this much goes into the error and so into the log.
_MAX_COMPLAINT_BYTES: Final = 500
_PIPE_BYTES: Final = 64 * 1024
# Between two looks at a program that closed its output and still runs, which few do.
_POLL_S: Final = 0.005


class ProgramFailed(Exception):
    """A program could not be started, took too long, put out too much, or ended with another status than 0."""


def run(
    argv: Sequence[str],
    data: bytes | memoryview,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES,
    directory: str | None = None,
) -> bytes:
    """What the program writes to standard output that reads `data` from standard input; raises ProgramFailed.

    `directory` is where it runs, else the worker's own.
    """
    if isinstance(argv, str) or not argv:
        raise ProgramFailed(f"a program is given as a list of its words, not as {argv!r:.100}")
    deadline = time.monotonic() + timeout_s
    with _file_of(data) as file:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                bufsize=0,
                process_group=0,
            )
        except (OSError, ValueError) as error:
            raise ProgramFailed(f"{argv[0]}: {error}") from error
    assert process.stdout
    assert process.stderr
    with _ended_with_worker(process.pid):
        try:
            with process.stdout, process.stderr:
                output, complaint = _read(argv[0], process.stdout, process.stderr, deadline, max_output_bytes)
            _wait_for_end(argv[0], process.pid, deadline)
        finally:
            # Before it is waited for, while the group's number cannot be another's; what it left running goes, too.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        how = f"exit status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise ProgramFailed(f"{argv[0]}: {how}{complaint and ': '}{complaint}")
    return output


@contextmanager
def _ended_with_worker(group: int) -> Iterator[None]:
    """While inside, a TERM that ends this process ends the group first.

    The multiplexor signals the worker's own group, and the program is not in that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what becomes of a signal
        return

    def end_group(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler's arguments
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end_group)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _file_of(data: bytes | memoryview) -> IO[bytes]:
    """A file without a name, at its start, that has the data: nobody else has a link to it."""
    in_memory = hasattr(os, "memfd_create")
    file = os.fdopen(os.memfd_create("part"), "w+b") if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
    file.write(data)
    file.seek(0)
    return file


def _read(name: str, stdout: IO[bytes], stderr: IO[bytes], deadline: float, max_output_bytes: int) -> tuple[bytes, str]:
    """All of standard output and the first of standard error, once both have ended; raises ProgramFailed."""
    output, complaint = bytearray(), bytearray()
    waiting = select.poll()
    streams = {stream.fileno(): stream for stream in (stdout, stderr)}
    for descriptor in streams:
        waiting.register(descriptor, select.POLLIN)
    while streams:
        ready = waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            raise ProgramFailed(f"{name}: took too long")
        for descriptor, _ in ready:
            piece = os.read(descriptor, _PIPE_BYTES)
            if not piece:
                waiting.unregister(descriptor)
                del streams[descriptor]
            elif descriptor == stdout.fileno():
                output += piece
            else:
                complaint += piece[: _MAX_COMPLAINT_BYTES - len(complaint)]
        if len(output) > max_output_bytes:
            raise ProgramFailed(f"{name}: put out more than {max_output_bytes} bytes")
    return bytes(output), " ".join(complaint.decode("utf-8", "replace").split())


def _wait_for_end(name: str, pid: int, deadline: float) -> None:
    """Waits until the program has ended, and leaves its status to be asked for; raises ProgramFailed."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            raise ProgramFailed(f"{name}: took too long")
        time.sleep(_POLL_S)
