# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that starting has used and that serving has no use for, given back to the system."""

import ctypes


def give_back() -> None:
    """Half a MiB that loading modules has left, where the C library is glibc. Before there are threads or forks."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
