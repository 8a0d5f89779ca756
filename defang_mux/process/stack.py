# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a worker that hangs write its stack before it is ended (protocol.md, Ending a worker).

Only a worker that catches SIGUSR2 is sent it, for any other would die of it. What it writes comes the way of all its
lines, to the log with the queue ID.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

SIGNAL: Final = signal.SIGUSR2
# The signal's handler runs at once unless the host is overloaded; then the stack is not worth a wait.
_PATIENCE_S: Final = 1.0
# All of it is written in one go; after such a pause there is no more of it.
_QUIET_S: Final = 0.1


def can_tell(pid: int) -> bool:
    """Whether the process catches the signal; False, too, where /proc does not tell."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            name, _, mask = line.partition(":")
            if name == "SigCgt":
                return bool(int(mask, 16) >> (SIGNAL - 1) & 1)
    return False


async def hear_out(pid: int, lines_heard: Callable[[], int]) -> None:
    """Asks for the stack and returns when it has been written, or after a second. `lines_heard` counts all lines."""
    if not can_tell(pid):
        return
    before = lines_heard()
    with suppress(ProcessLookupError):
        # A stopped process would not hear.
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, SIGNAL)
    with trio.move_on_after(_PATIENCE_S):
        last = before
        while last == before or last != lines_heard():
            last = lines_heard()
            await trio.sleep(_QUIET_S)
