# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes to a tree of entities, in one pass.

The only thing searched for is a line that begins with `--`. Such a line is looked up among the boundaries of
all open multiparts at once, so neither the depth nor the number of parts multiplies the cost, and nothing
is copied but headers. Any bytes give a tree; there is no recursion.
"""

import re
from typing import Final

from defang_worker.mime.dashes import find_dashed
from defang_worker.mime.decode import decode_body
from defang_worker.mime.headers import Buffer, count_fields
from defang_worker.mime.opening import PLAIN, Opening, read_opening
from defang_worker.mime.tree import Entity, Limits, Source, Tree
from defang_worker.mime.usual import usual_header

_DASHES: Final = b"\n--"
_BLANK_LINE: Final = re.compile(rb"\n\r*+\n")
_NO_FIELD: Final = re.compile(rb"^(?![ \t]|[^\x00-\x20:\x7f]++[ \t]*+:)[^\r\n]", re.MULTILINE)
_EMPTY_LINE: Final = re.compile(rb"\r*+\n")
# After so many lines in a row that are no delimiters, or so many delimiters without a part, a pattern for what ends
# the row is made: it takes longer to make than to pass a few lines.
_ROW_LINES: Final = 200
_MAX_PATTERN_BYTES: Final = 2_000
# Lines that begin with dashes, kept for the examination; honest mail has some dozens.
_MAX_STRAYS: Final = 1_000
_PADDING: Final = b" \t\r"
_ENCODED: Final = frozenset({"base64", "quoted-printable"})


def parse(buffer: Buffer, limits: Limits | None = None) -> Tree:
    """Return the tree of the message in `buffer`, which must stay open as long as the tree is used.

    Never raises on what a sender wrote; see `Tree.limit_exceeded` for what was not examined.
    """
    source = Source(buffer, limits or Limits())
    tree = Tree(source)
    waiting: list[Entity] = []
    _Scan(tree, source, waiting).message(tree.root)
    room = source.limits.max_nested_bytes
    while waiting:
        host = waiting.pop()
        if host.children:  # delimiters in plain sight, whatever the encoding says
            continue
        decoded = decode_body(host.raw_body, host.transfer_encoding)
        room -= len(decoded)
        if room < 0:
            tree.limit_exceeded = tree.limit_exceeded or "nested-size"
            break
        if host.boundary is not None and b"--" + host.boundary not in decoded:
            continue
        host.inner = Source(decoded, source.limits, host)
        tree.decoded.append(host)
        scan = _Scan(tree, host.inner, waiting)
        if host.boundary is not None:
            scan.multipart(host)
        else:
            scan.nested_message(host)
    return tree


class _Scan:
    """One pass over one source."""

    __slots__ = ("_active", "_buffer", "_depth", "_hit", "_open", "_size", "_source", "_tree", "_waiting")

    def __init__(self, tree: Tree, source: Source, waiting: list[Entity]) -> None:
        self._tree = tree
        self._source = source
        self._buffer = source.buffer
        self._size = len(source.buffer)
        self._waiting = waiting
        self._hit = self._size
        """The next line that begins with two dashes; the size if there is none."""
        self._open: list[tuple[Entity, bytes | None, int | None]] = []
        """The open entities, outermost first: entity, its boundary while it counts, and the index
        of the outer entity that had the same boundary before it."""
        self._active: dict[bytes, int] = {}
        """Boundaries that count at present, and the index of the innermost entity that has each."""
        self._depth = source.host.depth + 1 if source.host is not None else 0

    # The three ways to begin

    def message(self, root: Entity) -> None:
        """Scan a source that is a message, beginning with its header."""
        self._seek(0)
        self._run(root)

    def nested_message(self, host: Entity) -> None:
        """Scan a source that is the decoded body of `host`, a message."""
        if child := self._child(host, 0):
            self.message(child)

    def multipart(self, host: Entity) -> None:
        """Scan a source that is the decoded body of `host`, a multipart."""
        self._open.append((host, host.boundary, None))
        self._active[host.boundary or b""] = 0
        place = host.header_end, host.body_start, host.end
        if self._buffer[:2] == b"--":
            self._hit = 0
        else:
            self._seek(0)
        if child := self._next_part():
            self._run(child)
        host.header_end, host.body_start, host.end = place  # which are offsets of the outer source

    # The pass itself

    def _run(self, entity: Entity | None) -> None:
        while entity is not None:
            entity = self._header(entity) or self._next_part()

    def _seek(self, start: int) -> None:
        """Find the next line with two dashes whose preceding line end is at `start` or later."""
        found = find_dashed(_DASHES, self._buffer, start, self._size)
        self._hit = self._size if found < 0 else found + 1

    def _seek_open(self, start: int) -> None:
        """Do the same for the next delimiter of an open multipart."""
        if sum(map(len, self._active)) > _MAX_PATTERN_BYTES:
            self._seek(start)
            return
        names = b"|".join(map(re.escape, self._active))
        wanted = re.compile(rb"\n--(?=(?:" + names + rb")(?:--)?[ \t\r]*(?:\n|\Z))")
        match = wanted.search(self._buffer, start) if self._active else None
        self._hit = match.start() + 1 if match else self._size

    def _header(self, entity: Entity) -> Entity | None:
        """Read the header of `entity`, which begins here, and open it; return its child if it is a message."""
        start = entity.start
        if start == 0 and (match := _EMPTY_LINE.match(self._buffer)):
            entity.body_start = match.end()
        else:
            self._find_header_end(entity, max(start - 1, 0))
        self._open.append((entity, None, None))
        header = self._buffer[start : min(entity.header_end, start + self._source.limits.max_header_bytes)]
        opening = self._opening(entity, header)
        is_message = opening.is_message
        if opening.content_type is not None:
            entity.content_type = opening.content_type
        elif entity.parent is not None and entity.parent.content_type == "multipart/digest":
            entity.content_type = "message/rfc822"  # RFC 2046 section 5.1.5
            is_message = True
        boundary = opening.boundary
        if boundary is None and not is_message:
            return None
        if len(self._open) + self._depth > self._source.limits.max_depth:
            self._exceed("depth")
            return None
        if opening.encoding in _ENCODED:
            self._waiting.append(entity)
            if boundary is None:
                return None
        if boundary is None:
            return self._child(entity, entity.body_start) if entity.body_start > entity.header_end else None
        entity.boundary = boundary
        self._open[-1] = (entity, boundary, self._active.get(boundary))
        self._active[boundary] = len(self._open) - 1
        return None

    def _find_header_end(self, entity: Entity, start: int) -> None:
        """Set where the header ends: at a blank line, or at a delimiter of an open multipart.

        Lines that are no fields are skipped if a field comes after them. If none does, the body begins with
        them, with a blank line below or without, lest they be shown nowhere. Of the message itself the mail
        server has told the header: there the blank line counts alone.
        """
        while True:
            limit = self._hit
            if match := _BLANK_LINE.search(self._buffer, start, limit):
                entity.header_end, entity.body_start = match.start() + 1, match.end()
                if entity.parent is not None:
                    self._give_stray_lines_to_the_body(entity)
                return
            if limit >= self._size or self._delimiter()[0] >= 0:
                stray = _NO_FIELD.search(self._buffer, entity.start, limit) if entity.parent else None
                entity.header_end = entity.body_start = stray.start() if stray else limit
                return
            start = limit - 1
            self._seek(limit)

    def _give_stray_lines_to_the_body(self, entity: Entity) -> None:
        """Let the body begin above the blank line if the last lines of the header are no fields."""
        end = entity.header_end
        while end > entity.start:
            line = max(self._buffer.rfind(b"\n", entity.start, end - 1) + 1, entity.start)
            if not _NO_FIELD.match(self._buffer, line, end):
                break
            end = line
        if end < entity.header_end:
            entity.header_end = entity.body_start = end

    def _opening(self, entity: Entity, header: bytes) -> Opening:
        """Return what the header says of the body; look at the limits of its size, and keep it if it is a usual one."""
        limits = self._source.limits
        if not header:
            return PLAIN
        if entity.header_end - entity.start > limits.max_header_bytes:
            self._exceed("header-size")
        elif header.count(b"\n") <= limits.max_header_fields:
            entity.usual = usual = usual_header(header)
            return usual.opening if usual is not None else read_opening(header)
        if count_fields(header) > limits.max_header_fields:
            self._exceed("header-count")
        return read_opening(header)

    def _delimiter(self) -> tuple[int, bool, int]:
        """Return what the line at the current hit is: index of the multipart or -1, closing?, where the line ends."""
        line_end = self._buffer.find(b"\n", self._hit)
        if line_end < 0:
            line_end = self._size
        line = self._buffer[self._hit + 2 : line_end].rstrip(_PADDING)
        index = self._active.get(line, -1)
        if line.endswith(b"--"):
            closed = self._active.get(line[:-2], -1)
            if closed > index:
                return closed, True, line_end
        return index, False, line_end

    def _next_part(self) -> Entity | None:
        """Go on to the next delimiter that counts; return the part that begins there, or None at the end."""
        row = 0
        while self._hit < self._size:
            hit = self._hit
            index, is_close, line_end = self._delimiter()
            row = row + 1 if index < 0 else 0
            if row > _ROW_LINES and len(self._tree.strays) == _MAX_STRAYS:
                self._seek_open(line_end)
            else:
                self._seek(line_end)
            if index < 0:
                if len(self._tree.strays) < _MAX_STRAYS and not self._source.level:
                    self._tree.strays.append(hit)
                continue
            end = max(hit - 1, 0)
            if end and self._buffer[end - 1] == 0x0D:
                end -= 1
            self._close_down_to(index + 1, end)
            multipart = self._open[index][0]
            if is_close:
                multipart.close_start = hit
                self._deactivate(index)
                self._open[index] = (multipart, None, None)
            elif child := self._child(multipart, min(self._last_of_equals(index, line_end) + 1, self._size), hit):
                return child
            else:
                break
        self._close_down_to(0, self._size)
        return None

    def _last_of_equals(self, index: int, line_end: int) -> int:
        """Pass delimiters that follow at once upon one another, with no room for a part; return where they end."""
        row = 0
        while self._hit == line_end + 1 < self._size:
            same, is_close, next_end = self._delimiter()
            if same != index or is_close:
                break
            line_end = next_end
            row += 1
            if row == _ROW_LINES:
                boundary = self._open[index][1] or b""
                other = re.compile(rb"\n(?!--" + re.escape(boundary) + rb"[ \t\r]*\n)")
                match = other.search(self._buffer, line_end)
                line_end = match.start() if match else line_end
            self._seek(line_end)
        return line_end

    def _child(self, parent: Entity, start: int, delimiter: int = -1) -> Entity | None:
        """Add a child to `parent`, or return None if there are too many parts already."""
        if self._tree.part_count >= self._source.limits.max_parts:
            self._exceed("parts")
            return None
        self._tree.part_count += 1
        child = Entity(self._source, parent, start, delimiter)
        parent.children.append(child)
        return child

    def _close_down_to(self, count: int, end: int) -> None:
        """Close the innermost open entities until `count` are left; they end at `end`."""
        while len(self._open) > count:
            index = len(self._open) - 1
            self._deactivate(index)
            entity = self._open.pop()[0]
            entity.end = max(end, entity.start)
            if entity.body_start > entity.end:  # no body: the line end belongs to the delimiter
                entity.header_end = entity.body_start = entity.end

    def _deactivate(self, index: int) -> None:
        _, boundary, outer = self._open[index]
        if boundary is None:
            return
        if outer is None:
            del self._active[boundary]
        else:
            self._active[boundary] = outer

    def _exceed(self, limit: str) -> None:
        self._tree.limit_exceeded = self._tree.limit_exceeded or limit
