# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes in, whole lines out, under a limit (protocol.md, Lines).

Serves every place where a line arrives in pieces: request sockets, worker pipes, the
worker's standard input. Knows no meaning of a line.
"""

from .errors import LineTooLong

MAX_REQUEST_LINE_BYTES = 4094
"""Longest request without its newline that MIMEDefang's multiplexor takes."""

MAX_ANSWER_LINE_BYTES = 4095
"""Longest answer line of a worker, without its newline, that MIMEDefang's multiplexor passes on."""


class LineBuffer:
    """Collects bytes and hands out lines without their line end (LF, or CR LF).

    `limit_bytes` counts a line without its line end. A line over it raises `LineTooLong`
    from `next_line`, as soon as it is known; what was collected is then of no further use.
    """

    __slots__ = ("_data", "_limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._data = bytearray()
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> None:
        """Adds bytes as they arrived."""
        self._data += data

    def next_line(self) -> bytes | None:
        """The next whole line, or None if none has arrived whole yet."""
        end = self._data.find(b"\n")
        if end < 0:
            # One more byte than the limit may be the CR of a line that just fits.
            if len(self._data) > self._limit_bytes + 1:
                raise LineTooLong(f"line over {self._limit_bytes} bytes")
            return None
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        if line.endswith(b"\r"):
            line = line[:-1]
        if len(line) > self._limit_bytes:
            raise LineTooLong(f"line over {self._limit_bytes} bytes")
        return line

    def rest(self) -> bytes:
        """What has arrived behind the last line handed out; it stays in the buffer."""
        return bytes(self._data)
