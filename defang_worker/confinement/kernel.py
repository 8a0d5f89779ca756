# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of the kernel that Python has no names for. Every failure is an OSError."""

from __future__ import annotations

import ctypes
import os
from typing import Final

# prctl(2).
_PR_SET_NO_NEW_PRIVS: Final = 38

_libc: Final = ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments: object) -> int:
    """The call's value; raises OSError."""
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, *arguments: object) -> int:
    """The call's value; raises OSError."""
    return _checked(_libc.prctl(option, *arguments))


def give_up_new_privileges() -> None:
    """No program that is started from now on gains any: without that the kernel lets only root confine itself."""
    prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def _checked(value: int) -> int:
    if value < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return value
