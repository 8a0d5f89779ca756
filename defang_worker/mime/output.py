# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rebuild yields: the new body as ranges of buffers, and changes of the message header.

Untouched megabytes are written from the message's own buffer, without being copied. `rebuild.py` makes these
values; whoever writes NEWBODY and RESULTS consumes them.
"""

import os
from dataclasses import dataclass
from typing import Final, NamedTuple

from defang_worker.mime.headers import Buffer

# IOV_MAX is 1024 on Linux and the BSDs.
_MAX_PIECES_PER_WRITE: Final = 1024


class Piece(NamedTuple):
    """A range of a buffer."""

    buffer: Buffer
    start: int
    end: int


class HeaderChange(NamedTuple):
    """What has to happen to one field of the message header."""

    name: str
    occurrence: int
    """Counted from 1 among the fields of that name, whose case does not matter."""
    value: str | None
    """None: delete the field. It may be missing if there is a value: then it has to be added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """The new body of a message, and what it asks of the header."""

    pieces: tuple[Piece, ...]
    content_type: str | None
    """The new value of the message's Content-Type; None if that stays. The message needs MIME-Version then."""
    header_changes: tuple[HeaderChange, ...]
    """To be made in this order (the highest occurrence of a field comes first); all are Content-*."""

    @property
    def size(self) -> int:
        """The length of the body in bytes."""
        return sum(piece.end - piece.start for piece in self.pieces)

    def to_bytes(self) -> bytes:
        """Return the body in one piece."""
        return b"".join(piece.buffer[piece.start : piece.end] for piece in self.pieces)

    def write(self, descriptor: int) -> None:
        """Write the body to a file descriptor, without a copy. Raises OSError."""
        for first in range(0, len(self.pieces), _MAX_PIECES_PER_WRITE):
            _write_all(descriptor, self.pieces[first : first + _MAX_PIECES_PER_WRITE])


def _write_all(descriptor: int, pieces: tuple[Piece, ...]) -> None:
    views = [memoryview(piece.buffer)[piece.start : piece.end] for piece in pieces]
    try:
        while views:
            written = os.writev(descriptor, views)
            while views and written >= len(views[0]):
                written -= len(views[0])
                views.pop(0).release()
            if written:
                views[0] = views[0][written:]
    finally:
        for view in views:  # a memory map can't be closed while one is left
            view.release()
