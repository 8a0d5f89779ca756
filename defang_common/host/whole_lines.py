# SPDX-License-Identifier: GPL-3.0-or-later
"""Appending to a file of lines that others have begun, such that no line is ever there in part."""

import errno
import os
from contextlib import suppress


def append(descriptor: int, size: int, lines: bytes) -> None:
    """Appends all of `lines`, or nothing, to a file of `size` bytes that is open for reading and appending.

    Raises OSError: for a full disk, and for a file that ends within a line, which would swallow the first of ours.
    """
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        raise OSError(errno.EIO, "the file ends within a line")
    try:
        written = os.write(descriptor, lines)
        while written < len(lines):
            written += os.write(descriptor, lines[written:])
    except OSError:
        # If that fails too, the next one finds out above.
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
