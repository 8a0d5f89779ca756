# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges of bytes with what is to stand there instead, for each source of a message; part of `rebuild.py`.

Knows nothing of parts but where they lie. What is not spliced is never copied.
"""

from typing import NamedTuple

from defang_worker.mime.compose import encode_base64, encode_body
from defang_worker.mime.output import Piece
from defang_worker.mime.tree import Entity, Source


class _Splice(NamedTuple):
    start: int
    end: int
    new: bytes


class Splices:
    """The splices of one message. They do not overlap."""

    def __init__(self, newline: bytes) -> None:
        self._newline = newline
        self._of: dict[Source, list[_Splice]] = {}

    def add(self, source: Source, start: int, end: int, new: bytes) -> None:
        """Put `new` in the place of a range, which may be empty."""
        self._of.setdefault(source, []).append(_Splice(start, end, new))

    def cover_header(self, entity: Entity) -> bool:
        """Tell whether the header of `entity` goes with a splice already."""
        splices = self._of.get(entity.source, ())
        return any(splice.start <= entity.start and entity.body_start <= splice.end for splice in splices)

    def encode_inner_sources(self) -> None:
        """Turn the splices of decoded containers to one splice each of what they were decoded from."""
        deepest = max((source.level for source in self._of), default=0)
        for level in range(deepest, 0, -1):
            for source in [source for source in self._of if source.level == level]:
                self._encode_inner(source)

    def _encode_inner(self, source: Source) -> None:
        host = source.host
        assert host is not None
        content = b"".join(piece.buffer[piece.start : piece.end] for piece in self.pieces(source, 0))
        if host.transfer_encoding == "base64":
            encoded = encode_base64(content, self._newline)
        else:
            encoded = encode_body(content, host.transfer_encoding)
        self.add(host.source, host.body_start, host.end, encoded)

    def pieces(self, source: Source, start: int, end: int | None = None) -> list[Piece]:
        """Return what is left of a source from `start` to `end` (its own end), and what is new, in order."""
        buffer = source.buffer
        last = len(buffer) if end is None else end
        pieces: list[Piece] = []
        at = start
        # Stable, so that splices for one place keep the order in which they were planned.
        for splice in sorted(self._of.get(source, ()), key=lambda splice: splice[:2]):
            if start <= splice.start and splice.end <= last:
                pieces += (Piece(buffer, at, splice.start), Piece(splice.new, 0, len(splice.new)))
                at = splice.end
        pieces.append(Piece(buffer, at, last))
        return [piece for piece in pieces if piece.end > piece.start]
