# SPDX-License-Identifier: GPL-3.0-or-later
"""What filters have started and workers have left, in sessions of their own: children of ours, the subreaper.

Programs in a worker's process group end with it; one that has called setsid does not, and would outlive the
service where no cgroup is emptied behind it. Called by `supervisor` when workers and templates are gone.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

# Enough to remove its own files; nobody waits for anything of it any more.
_TERM_LIMIT_S: Final = 2.0
_POLL_S: Final = 0.05
# For the system to take them away.
_KILL_LIMIT_S: Final = 2.0


def children() -> list[int]:
    """Our children that run; none where the kernel does not tell."""
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return [pid for pid in found if not _has_ended(pid)]


def _has_ended(pid: int) -> bool:
    """Whether the child has; if so, its number is given up."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


async def end_adopted(*, spared: list[int]) -> list[int]:
    """Ends all children but the `spared` ones, and theirs; those that are left. Nobody is to have any use for them."""
    for number, limit_s in ((signal.SIGTERM, _TERM_LIMIT_S), (signal.SIGKILL, _KILL_LIMIT_S)):
        with trio.move_on_after(limit_s):
            await _end_all(number, spared)
            return []
    return _adopted(spared)


def _adopted(spared: list[int]) -> list[int]:
    return [pid for pid in children() if pid not in spared]


async def _end_all(number: signal.Signals, spared: list[int]) -> None:
    """Signals each child once, and such as come while others end; returns when there is none."""
    told: set[int] = set()
    while found := _adopted(spared):
        for pid in found:
            if pid not in told:
                told.add(pid)
                # Ours until we have asked how it ended, so no other process has its number. A stopped one has to go on.
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)
        await _wait_for_end(found[0])


async def _wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        # An old kernel, or no descriptor left.
        await trio.sleep(_POLL_S)
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
