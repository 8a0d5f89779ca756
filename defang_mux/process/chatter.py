# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker says beside its answers: standard error to lines, descriptor 3 to status tags.

Lines are handed to a callable as they come; what they are for is the crew's business.
"""

import os
from collections.abc import Callable
from typing import Final

import trio

from defang_common.wire import percent

# A line that is longer is cut, so that a worker without newlines fills neither our memory nor the log.
MAX_LINE_BYTES: Final = 4096
CUT: Final = b" [cut]"
"""Stands at the end of a line that was cut."""

MAX_TAG_BYTES: Final = 63
"""Longest status tag, as in MIMEDefang; the rest is cut."""

_READ_BYTES: Final = 16384
# What a process that is gone has left in its pipe, even in one of the largest size that the system gives to users
# (1 MiB); more comes from something that it has started, and that may never end.
_DRAIN_READS: Final = 64
_CLOSED: Final = -1


class LineReader:
    """Reads a pipe of a worker line by line until its end, or until `close`. Empty lines count for status tags."""

    __slots__ = ("_descriptor", "_is_cut", "_rest", "_scope", "_take")

    def __init__(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        self._descriptor = descriptor
        self._take = take
        self._rest = b""
        self._is_cut = False
        """The line that has begun was too long, and is handed on already."""
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Hands on lines as they arrive; owns the descriptor and closes it."""
        try:
            with self._scope:
                while self._read_once() is not False:
                    await trio.lowlevel.wait_readable(self._descriptor)
        finally:
            if self._rest:
                self._take(self._rest)
            descriptor, self._descriptor = self._descriptor, _CLOSED
            os.close(descriptor)

    def drain(self) -> None:
        """Hands on what has already been written, down to an unfinished last line, and lets `run` end.

        For a process that is gone: something it started may hold the pipe open for ever.
        """
        if self._descriptor == _CLOSED or self._scope.cancel_called:
            return
        for _ in range(_DRAIN_READS):
            if not self._read_once():
                break
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        self._scope.cancel()

    def _read_once(self) -> bool | None:
        """True after some bytes, None if there are none yet, False at the end."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            return False
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not self._is_cut:
                self._take(line if len(line) <= MAX_LINE_BYTES else line[:MAX_LINE_BYTES] + CUT)
            self._is_cut = False
        if len(rest) > MAX_LINE_BYTES and not self._is_cut:
            self._take(rest[:MAX_LINE_BYTES] + CUT)
            self._is_cut = True
        self._rest = b"" if self._is_cut else rest
        return True


def tag_of(line: bytes) -> bytes:
    """The status tag in a line of descriptor 3: decoded, cut, and without control or 8-bit bytes."""
    raw = percent.decode(line)[:MAX_TAG_BYTES]
    return bytes(byte if 0x20 <= byte <= 0x7E else 0x20 for byte in raw)
