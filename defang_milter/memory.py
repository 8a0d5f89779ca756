# SPDX-License-Identifier: GPL-3.0-or-later
"""How the C library's allocator treats a process that passes much data through buffers of 64 KiB.

Called once by `__main__`, before there are threads.
"""

import ctypes
from typing import Final

# Parameters of glibc's mallopt(3), from its malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_ARENA_MAX: Final = -8

# What stays in the process instead of being given back: a few packets of every session in work.
_KEPT_BYTES: Final = 8 * 1024 * 1024
_GROWTH_BYTES: Final = 1024 * 1024


def keep_freed_memory() -> None:
    """Have freed memory kept for the next packet; does nothing where the C library is not glibc.

    By default an arena for each thread gives its top back to the system whenever 128 KiB are free, and asks for it
    again with the next packet: a third of the front end's time for a large message was page faults. Our threads run one
    at a time for the most part, so one arena serves them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TOP_PAD, _GROWTH_BYTES)
