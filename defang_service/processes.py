# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process a daemon is, and its end: told by the kernel, not by a pid file.

A daemon locks its lock file for as long as it lives, so whoever holds the lock is the daemon: a
pid file may be stale, its number another process's by now, or written by the daemons' user to
have root end something else. Called by `service`.
"""

import ctypes
import fcntl
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

_MS_PER_S: Final = 1000


class Unclear(Exception):
    """Which process a daemon is cannot be found out; the message says why."""


if sys.platform.startswith("linux"):
    _FLOCK_FIELDS = [
        ("type", ctypes.c_short),
        ("whence", ctypes.c_short),
        ("start", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("pid", ctypes.c_int32),
    ]
else:
    # The BSDs' order; FreeBSD has one more field behind it.
    _FLOCK_FIELDS = [
        ("start", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("pid", ctypes.c_int32),
        ("type", ctypes.c_short),
        ("whence", ctypes.c_short),
        ("system", ctypes.c_int32),
    ]


class _Flock(ctypes.Structure):
    """struct flock of fcntl(2)."""

    _fields_ = _FLOCK_FIELDS
    type: int
    pid: int


def lock_holder(path: Path) -> int | None:
    """The process that holds the lock file; None if none does, or there is no such file. Raises `Unclear`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unclear(f"{path}: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise Unclear(f"{path} is not a plain file with a single name: remove it")
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, bytes(_Flock(type=fcntl.F_WRLCK)))
    finally:
        os.close(descriptor)
    lock = _Flock.from_buffer_copy(answer)
    if lock.type == fcntl.F_UNLCK:
        return None
    if lock.pid <= 0:
        raise Unclear(f"{path} is held by a process that cannot be seen from here (another container?)")
    return lock.pid


class Held:
    """A process, held fast: its number cannot come to mean another one."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError if there is none of that number."""
        self.pid = pid
        if sys.platform.startswith("linux"):
            self._descriptor = os.pidfd_open(pid)
        else:
            self._queue = select.kqueue()
            event = select.kevent(pid, filter=select.KQ_FILTER_PROC, flags=select.KQ_EV_ADD, fflags=select.KQ_NOTE_EXIT)
            self._queue.control([event], 0)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            if sys.platform.startswith("linux"):
                signal.pidfd_send_signal(self._descriptor, number)
            elif not self.wait_end(0):
                os.kill(self.pid, number)

    def wait_end(self, limit_s: float) -> bool:
        """Whether it has ended, waiting for it so long."""
        if sys.platform.startswith("linux"):
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            return bool(poll.poll(limit_s * _MS_PER_S))
        return bool(self._queue.control(None, 1, limit_s))

    def close(self) -> None:
        """Lets go of it."""
        if sys.platform.startswith("linux"):
            os.close(self._descriptor)
        else:
            self._queue.close()


@contextmanager
def holding(lock: Path) -> Iterator[Held | None]:
    """The daemon that holds this lock file, held fast; None if there is none. Raises `Unclear`."""
    held = _hold(lock)
    try:
        yield held
    finally:
        if held is not None:
            held.close()


def _hold(lock: Path) -> Held | None:
    while (pid := lock_holder(lock)) is not None:
        try:
            held = Held(pid)
        except ProcessLookupError:
            continue
        # Between the two questions it may have ended and its number have gone to another.
        if lock_holder(lock) == pid:
            return held
        held.close()
    return None


def end(process: Held, *, term_limit_s: float, kill_limit_s: float) -> bool:
    """TERM, and KILL if that has not ended it in time; whether it has ended."""
    process.send(signal.SIGTERM)
    if process.wait_end(term_limit_s):
        return True
    process.send(signal.SIGKILL)
    return process.wait_end(kill_limit_s)


def stray_workers(worker: str, *, uid: int, spool: Path) -> list[int]:
    """Workers (program `worker`, of that user, working in the spool) that a multiplexor left when it crashed.

    Found on Linux alone; elsewhere they end by themselves when they have done their message.
    """
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_worker(entry, Path(worker).name.encode(), uid, spool)
    ]


def _is_worker(process: Path, worker: bytes, uid: int, spool: Path) -> bool:
    try:
        if process.stat().st_uid != uid or not (process / "cwd").samefile(spool):
            return False
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    # A script's name comes behind its interpreter's.
    return worker in (word.rpartition(b"/")[2] for word in words[:3])


def end_all(pids: list[int], *, term_limit_s: float, kill_limit_s: float) -> list[int]:
    """Ends the processes, with a common time limit; those that are left."""
    with ExitStack() as stack:
        held = []
        for pid in pids:
            with suppress(ProcessLookupError):
                held.append(Held(pid))
                stack.callback(held[-1].close)
        for number, limit_s in ((signal.SIGTERM, term_limit_s), (signal.SIGKILL, kill_limit_s)):
            deadline = time.monotonic() + limit_s
            for process in held:
                process.send(number)
            held = [process for process in held if not process.wait_end(max(0.0, deadline - time.monotonic()))]
        return [process.pid for process in held]
