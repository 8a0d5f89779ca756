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
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

__all__ = [
    "DEFAULT_MAX_OUTPUT_BYTES",
    "DEFAULT_TIMEOUT_S",
    "Finished",
    "ProgramFailed",
    "end_with_worker",
    "finished",
    "run",
]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What came of a program that ended by itself."""

    status: int
    """Its exit status; negative for the signal that ended it."""
    output: bytes
    complaint: str
    """The first of what it wrote to standard error, as one line."""


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
    ended = finished(argv, data, timeout_s=timeout_s, max_output_bytes=max_output_bytes, directory=directory)
    if ended.status:
        how = f"exit status {ended.status}" if ended.status > 0 else f"signal {-ended.status}"
        raise ProgramFailed(f"{argv[0]}: {how}{ended.complaint and ': '}{ended.complaint}")
    return ended.output


def finished(
    argv: Sequence[str],
    data: bytes | memoryview,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    max_output_bytes: int = DEFAULT_MAX_OUTPUT_BYTES,
    directory: str | None = None,
) -> Finished:
    """What `run` gives, of whatever exit status; raises ProgramFailed if the program did not end by itself."""
    if isinstance(argv, str) or not argv:
        raise ProgramFailed(f"a program is given as a list of its words, not as {argv!r:.100}")
    deadline = time.monotonic() + timeout_s
    is_main = threading.current_thread() is threading.main_thread()
    with _term_ends_programs() if is_main else nullcontext():
        with _file_of(data) as file:
            process = _started(argv, file, directory, is_main=is_main)
        assert process.stdout
        assert process.stderr
        try:
            with process.stdout, process.stderr:
                output, complaint = _read(argv[0], process.stdout, process.stderr, deadline, max_output_bytes)
            _wait_for_end(argv[0], process.pid, deadline)
        finally:
            # Before it is waited for, while the group's number cannot be another's; what it left running goes, too.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            _groups.discard(process.pid)
    return Finished(status=process.returncode, output=output, complaint=complaint)


def _started(argv: Sequence[str], file: IO[bytes], directory: str | None, *, is_main: bool) -> subprocess.Popen[bytes]:
    if is_main:
        _Term.is_main_starting = True
    try:
        with nullcontext() if is_main else _starting:
            process = subprocess.Popen(
                list(argv),
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                bufsize=0,
                process_group=0,
            )
            _groups.add(process.pid)
    except (OSError, ValueError) as error:
        raise ProgramFailed(f"{argv[0]}: {error}") from error
    finally:
        if is_main:
            _Term.is_main_starting = False
            if _Term.is_pending:
                _end_programs(signal.SIGTERM, None)
    return process


# A TERM ends the worker. The multiplexor signals the worker's own group, and programs are not in that: they are ended
# by the handler, which runs in the main thread, whatever that is doing.
_groups: Final[set[int]] = set()
# Held by any other thread while it starts one, so that none is started and not yet known when the worker ends.
_starting: Final = threading.Lock()
# Longer than any start of a program; the worker's end is not to wait for ever.
_START_LIMIT_S: Final = 5.0


class _Term:
    before: Any = signal.SIG_DFL
    """The handler that was there before ours."""
    is_main_starting = False
    is_pending = False
    """Whether a TERM has come while the main thread was starting a program."""


def end_with_worker() -> None:
    """From now on a TERM that ends this process ends the programs in its threads, too; for the main thread."""
    before = signal.getsignal(signal.SIGTERM)
    if before is not _end_programs:
        _Term.before = before
        signal.signal(signal.SIGTERM, _end_programs)


@contextmanager
def _term_ends_programs() -> Iterator[None]:
    """While inside, a TERM ends the programs, too; only the main thread may say so."""
    before = signal.getsignal(signal.SIGTERM)
    end_with_worker()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _end_programs(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler's arguments
    if _Term.is_main_starting:
        _Term.is_pending = True  # until its group is known
        return
    _starting.acquire(timeout=_START_LIMIT_S)  # and kept: no other is started any more
    for group in tuple(_groups):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    signal.signal(signal.SIGTERM, _Term.before or signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


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
