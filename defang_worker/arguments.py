# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that `ps` shows of a forked worker: as if it had been started as a program, and not its template's."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_TEMPLATE: Final = b"-template\0"
# Fields 48 and 49 of /proc/PID/stat (proc(5)), arg_start and arg_end, counted from the state behind the name.
_START: Final = 45


def show(mode: bytes) -> None:
    """Puts `mode`, no longer than it, in the place of `-template`, if that is there; does so on Linux only.

    What the system shows are the bytes at the upper end of the stack, where it has put them at the start.
    """
    with contextlib.suppress(OSError), open("/proc/self/stat", "rb") as file:  # noqa: PTH123
        start, end = map(int, file.read().rpartition(b")")[2].split()[_START : _START + 2])
        at = ctypes.string_at(start, end - start).rfind(_TEMPLATE)
        if at >= 0:
            ctypes.memmove(start + at, mode.ljust(len(_TEMPLATE), b"\0"), len(_TEMPLATE))
