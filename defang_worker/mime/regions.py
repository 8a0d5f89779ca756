# SPDX-License-Identifier: GPL-3.0-or-later
"""What an exploration works on: texts, regions of them, and the room that is left for it. Used by `explore.py`."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from defang_worker.mime.delimiters import MAX_DASH_LINES, DashLine, dash_lines
from defang_worker.mime.headers import Buffer
from defang_worker.mime.tree import MIB, Entity, Tree

_MAX_ENTITIES: Final = 2_000
_MAX_DEPTH: Final = 100
# Of what is decoded or rewritten, in sizes of the message; small messages may grow more. A message with one bare CR is
# rewritten three times, and each time its parts are read.
_MAX_GROWTH: Final = 8
_FREE_BYTES: Final = 1 * MIB
# As much as archives may expand to: what small messages unpack must not fill the memory.
_MAX_UNPACKED_BYTES: Final = 64 * MIB
# Looks at lines that may be delimiters; honest mail takes some hundreds.
_MAX_LINE_LOOKS: Final = 200_000
_START: Final = attrgetter("start")


class Text:
    """A buffer that regions lie in: the message, a spelling of it, or what was decoded."""

    __slots__ = ("_lines", "buffer", "host")

    def __init__(self, buffer: Buffer, host: Entity | None) -> None:
        self.buffer = buffer
        self.host = host
        """The entity of the strict tree that this was decoded from; None for the message itself."""
        self._lines: list[DashLine] | None = None

    @property
    def lines(self) -> list[DashLine]:
        """All lines that may be delimiters."""
        if self._lines is None:
            self._lines = dash_lines(self.buffer)
        return self._lines


@dataclass(slots=True, eq=False)
class Container:
    """An entity that some reading cuts into parts; told of only if such a part is new."""

    region: Region
    header: bytes
    body_start: int
    names: list[str]
    content_type: str
    is_known: bool
    """Whether the strict tree has it, or it was told of already."""

    def body(self) -> bytes:
        """Return the bytes that its parts lie in."""
        return self.region.text.buffer[self.body_start : self.region.end]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Bytes that may be an entity."""

    text: Text
    start: int
    end: int
    outer_end: int
    """Where the container ends, for a multipart that takes its container's boundary."""
    view: str = ""
    """The reading that led here; empty for the strict one."""
    depth: int = 0
    default_type: str = "text/plain"
    outer: tuple[bytes, ...] = ()
    """The boundaries of the containers around."""
    container: Container | None = None
    """What it is a part of."""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for regions that need be read once only."""
        return id(self.text), self.start, self.end, self.default_type, self.outer

    def host(self, tree: Tree) -> Entity:
        """Return the innermost entity of the strict tree that has the whole region in it."""
        if self.text.host is not None:
            return self.text.host
        entity = tree.root
        while True:
            at = bisect_right(entity.children, self.start, key=_START) - 1
            child = entity.children[at] if at >= 0 else None
            if child is None or child.source is not entity.source or self.end > child.end:
                return entity
            entity = child


class Room:
    """What an exploration may still take, and the first limit that it met."""

    __slots__ = ("_bytes", "_entities", "_looks", "_unpacked_bytes", "limit")

    def __init__(self, message_bytes: int) -> None:
        self._bytes = _FREE_BYTES + _MAX_GROWTH * message_bytes
        self._unpacked_bytes = _MAX_UNPACKED_BYTES
        self._entities = _MAX_ENTITIES
        self._looks = _MAX_LINE_LOOKS
        self.limit: str | None = None
        """None, or "view-size", "view-count", "view-depth", "view-lines"."""

    def exceed(self, limit: str) -> None:
        """Keep the name of a limit, unless there is one already."""
        self.limit = self.limit or limit

    def adds_unpacked(self, count: int) -> None:
        """Make room for a content that was packed, and so may be larger than the message."""
        more = min(_MAX_GROWTH * count, self._unpacked_bytes)
        self._unpacked_bytes -= more
        self._bytes += more

    def takes_bytes(self, count: int) -> bool:
        """Count bytes to be decoded or rewritten; tell whether there is room for them."""
        self._bytes -= count
        if self._bytes < 0:
            self.exceed("view-size")
        return self._bytes >= 0

    def takes_region(self, depth: int) -> bool:
        """Count an entity to be read."""
        self._entities -= 1
        if depth > _MAX_DEPTH:
            self.exceed("view-depth")
        elif self._entities < 0:
            self.exceed("view-count")
        return self.limit is None

    def takes_lines(self, text: Text, lines: int, boundaries: int) -> bool:
        """Count lines to be compared with boundaries."""
        self._looks -= lines * boundaries
        if self._looks < 0 or len(text.lines) >= MAX_DASH_LINES:
            self.exceed("view-lines")
        return self.limit is None
