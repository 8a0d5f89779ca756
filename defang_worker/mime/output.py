# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rebuild yields: the new body as ranges of buffers, and changes of the message header.

Untouched megabytes are written from the message's own buffer, without being copied. `rebuild.py` makes these
values; whoever writes NEWBODY and RESULTS consumes them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from defang_worker.mime.headers import Buffer
from defang_worker.mime.tree import Entity

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


def content_changes(
    root: Entity, wanted: Mapping[str, str | None], *, others_stay: bool
) -> tuple[str | None, tuple[HeaderChange, ...]]:
    """Return the new Content-Type (None if it stays), and what makes the message's Content-* fields `wanted`.

    None as a value deletes all copies of a field. Fields that `wanted` does not name stay or go, as `others_stay` says.
    A field that has its value already is not touched, for a signature may cover it.
    """
    copies = _content_copies(root)
    values = {name.lower(): value for name, value in wanted.items()}
    new_type = None
    if "content-type" in values or not others_stay:
        new_type = _unfolded(values.pop("content-type", None) or "text/plain")
        if new_type == copies.get("content-type", ("", ["text/plain"]))[1][0]:
            new_type = None
    copies.pop("content-type", None)
    changes: list[HeaderChange] = []
    for key, (name, old) in copies.items():
        if key in values or not others_stay:
            first = 1 if values.get(key) is None else 2
            changes += (HeaderChange(name, number, None) for number in range(len(old), first - 1, -1))
    for name, value in wanted.items():
        key = name.lower()
        if key in values and value is not None and (key not in copies or copies[key][1][0] != _unfolded(value)):
            changes.append(HeaderChange(name, 1, _unfolded(value)))
    return new_type, tuple(changes)


def _unfolded(value: str) -> str:
    return value.replace("\n", "")


def _content_copies(root: Entity) -> dict[str, tuple[str, list[str]]]:
    """Return the message's Content-* fields: by name in small letters, its first spelling and all values."""
    copies: dict[str, tuple[str, list[str]]] = {}
    for field in root.headers.fields:
        if field.name[:8].lower() == b"content-":
            name = field.name.decode("latin-1")
            value = root.headers.value(field).decode("utf-8", "surrogateescape")
            copies.setdefault(name.lower(), (name, []))[1].append(value)
    return copies
