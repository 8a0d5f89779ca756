# SPDX-License-Identifier: GPL-3.0-or-later
"""Every reading of a message: the leaves that any plausible reader would show.

Works through regions of bytes from a stack, each read in all ways that its bytes give rise to; a region is read once,
however many readings lead to it. Called by `views.py` for a message that the strict reading found fault with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from defang_worker.mime.base64_faults import Damage
from defang_worker.mime.body_checks import Seed
from defang_worker.mime.decode import decode_body
from defang_worker.mime.delimiters import Outside, cuts, guessed, lines_between, present
from defang_worker.mime.filenames import names_of
from defang_worker.mime.header_views import HeaderReading, header_readings, mime_fields
from defang_worker.mime.headers import Buffer
from defang_worker.mime.leaf_readings import DECODED, Leaf, LeafReader
from defang_worker.mime.line_ends import other_line_ends
from defang_worker.mime.readings import boundaries, encodings, media_types
from defang_worker.mime.regions import Container, Region, Room, Text
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.tree import KIB, Entity, Tree

# More spellings of one boundary, or more types of one entity, serve no reader.
_MAX_BOUNDARIES: Final = 64
_MAX_ENCODINGS: Final = 16
# What is looked at of the text around parts.
_OUTSIDE_BYTES: Final = 64 * KIB
# Of the boundaries around, the innermost that are told apart.
_MAX_OUTER: Final = 8
# What is cut into parts, whatever type it declares.
_MIXED: Final = "multipart/mixed"
# These have fields in their body, but no message.
_NOT_OPENED: Final = frozenset(
    f"message/{name}"
    for name in ("delivery-status", "disposition-notification", "feedback-report", "tracking-status", "http")
)


class _Type(NamedTuple):
    """What one Content-Type field may mean."""

    names: list[str]
    boundaries: list[bytes]
    is_unreadable: bool = False
    """Whether it may mean anything, a multipart too."""

    @property
    def is_container(self) -> bool:
        return self.is_multipart or self.is_message

    @property
    def is_multipart(self) -> bool:
        return any(name.startswith("multipart/") for name in self.names)

    @property
    def is_message(self) -> bool:
        return any(_is_container(name) and name.startswith("message/") for name in self.names)


class _Body(NamedTuple):
    """The body of an entity in one spelling: as it stands, or decoded."""

    region: Region
    text: Text
    start: int
    """Where to look for delimiters: of the body as it stands the header too, for one may stand there."""
    end: int
    view: str


class Explorer:
    """Finds all leaves that are not in `tree`; of the `damaged` ones there the body is decoded in all ways."""

    def __init__(self, tree: Tree, damaged: Mapping[Entity, list[Damage]]) -> None:
        self._tree = tree
        self._room = Room(len(tree.buffer))
        self._leaves = LeafReader(tree, damaged, self._room)
        self._leaves.open_message = self._open_message
        self._containers_of_tree: set[tuple[int, int, int]] = set()
        self._seen: set[tuple[object, ...]] = set()
        self._spelled: set[bytes] = set()
        self._waiting: list[Region] = []
        self._texts: list[Text] = []  # kept, so that their id() stays theirs
        self._whole = message = self._text(tree.buffer, None)
        texts = {id(tree.root.source): message}
        for leaf in tree.leaves():
            source = leaf.source
            if id(source) not in texts:
                texts[id(source)] = self._text(source.buffer, source.host)
            self._leaves.know(leaf, texts[id(source)])
        for entity in tree.walk():
            if entity.children or entity.is_multipart:
                text = texts.get(id(entity.source), message)
                self._containers_of_tree.add((id(text), entity.start, entity.end))

    @property
    def limit(self) -> str | None:
        """None, or the limit that kept something from being seen."""
        return self._room.limit

    def explore(self, seeds: Sequence[Seed], *, is_whole: bool) -> list[ShadowPart]:
        """Return what is new: in the contents of leaves that are entities and, with `is_whole`, in the message itself.

        May be called again, with what was found in those.
        """
        known = len(self._leaves.shadows)
        if is_whole:
            self._push_text(self._whole, "", depth=0)
        for seed in seeds:
            if not seed.is_message:
                self._room.adds_unpacked(len(seed.content))
            self._open_message(seed.content, seed.host, seed.view, 1)
        max_bytes = self._tree.root.source.limits.max_header_bytes
        while self._waiting and self._room.limit is None:
            region = self._waiting.pop()
            for reading in header_readings(region.text.buffer, region.start, region.end, max_bytes):
                self._entity(region, reading)
        return self._leaves.shadows[known:]

    # Texts and regions

    def _text(self, buffer: Buffer, host: Entity | None) -> Text:
        text = Text(buffer, host)
        self._texts.append(text)
        return text

    def _open_message(self, content: bytes, host: Entity, view: str, depth: int) -> None:
        self._push_text(self._text(content, host), view, depth=depth)

    def _push_text(self, text: Text, view: str, *, depth: int) -> None:
        """Have a whole buffer read as an entity, and in each other spelling of its line ends."""
        size = len(text.buffer)
        self._push(Region(text=text, start=0, end=size, outer_end=size, view=view, depth=depth))
        for spelling, make in other_line_ends(text.buffer):
            if not self._room.takes_bytes(size):
                return
            other = make(text.buffer[:])
            if other in self._spelled:
                continue
            self._spelled.add(other)
            spelled = self._text(other, text.host or self._tree.root)
            end = len(other)
            self._push(Region(text=spelled, start=0, end=end, outer_end=end, view=view or spelling, depth=depth))

    def _push(self, region: Region) -> None:
        if region.end > region.start and region.key not in self._seen and self._room.takes_region(region.depth):
            self._seen.add(region.key)
            self._waiting.append(region)

    # One entity, in one reading of its header

    def _entity(self, region: Region, reading: HeaderReading) -> None:
        fields = mime_fields(reading.header)
        region = replace(region, view=region.view or reading.view)
        types = [_type(value) for value in fields.types[:_MAX_BOUNDARIES]]
        types = types or [_Type([region.default_type], [])]
        declared = [encoding for value in fields.encodings[:_MAX_ENCODINGS] for encoding in encodings(value)]
        declared = list(dict.fromkeys(declared)) or ["7bit"]
        names = names_of(fields.dispositions, fields.types, fields.locations)
        start = min(reading.body_start, region.end)
        place = (id(region.text), region.start, region.end)
        kind = next((name for one in types if one.is_container for name in one.names if _is_container(name)), _MIXED)
        container = Container(region, reading.header, start, names, kind, place in self._containers_of_tree)
        is_split, is_leaf = self._containers(replace(region, container=container), reading, types, declared)
        if is_leaf or not is_split:
            self._leaves.read(Leaf(region, reading.header, start, names, types[0].names[0], region.view), declared)
        else:
            self._leaves.name(container)

    def _containers(
        self, region: Region, reading: HeaderReading, types: list[_Type], declared: list[str]
    ) -> tuple[bool, bool]:
        """Follow each type that makes the body a container; tell whether it is one, and whether it may be a leaf."""
        is_split = is_leaf = False
        bodies: list[_Body] = []
        for index, kind in enumerate(types):
            if not (kind.boundaries or kind.is_multipart or kind.is_message or kind.is_unreadable):
                is_leaf = True
                continue
            bodies = bodies or self._bodies(region, reading, declared)
            for body in bodies:
                view = region.view or ("other-content-type" if index else body.view)
                if (kind.boundaries or kind.is_multipart or kind.is_unreadable) and self._multipart(body, kind, view):
                    is_split = True
                if kind.is_message and (body.view or reading.body_start < region.end):
                    is_split = True
                    self._message(body, reading.body_start, view)
            is_leaf = is_leaf or not (kind.is_multipart or kind.is_message)
        return is_split, is_leaf

    def _bodies(self, region: Region, reading: HeaderReading, declared: list[str]) -> list[_Body]:
        """Return the body as it stands and decoded."""
        bodies = [_Body(region, region.text, region.start, region.end, "")]
        for encoding in declared:
            if encoding in DECODED and self._room.takes_bytes(region.end - reading.body_start):
                content = decode_body(region.text.buffer[reading.body_start : region.end], encoding)
                text = self._text(content, region.host(self._tree))
                bodies.append(_Body(region, text, 0, len(content), f"decoded-{encoding}"))
        return bodies

    def _message(self, body: _Body, body_start: int, view: str) -> None:
        depth = body.region.depth + 1
        if body.text is body.region.text:
            self._push(replace(body.region, start=body_start, view=view, depth=depth, default_type="text/plain"))
        else:
            self._push_text(body.text, view, depth=depth)

    # Multiparts

    def _multipart(self, body: _Body, kind: _Type, view: str) -> bool:
        """Cut the body by each boundary and push the pieces; tell whether there were any."""
        region, text = body.region, body.text
        lines = lines_between(text.lines, body.start, body.end)
        if not lines:
            return False
        chosen = present(lines, kind.boundaries, _MAX_BOUNDARIES)
        if (kind.is_multipart or kind.is_unreadable) and not any(boundary.strip() for boundary in chosen):
            view = view or "guessed-boundary"
            chosen = list(dict.fromkeys(chosen + guessed(text.buffer, lines, _MAX_BOUNDARIES)))
        if not self._room.takes_lines(text, len(lines), len(chosen)):
            return False
        default_type = "message/rfc822" if "multipart/digest" in kind.names else "text/plain"
        found = False
        for index, boundary in enumerate(chosen):
            cut_view = view or ("other-boundary" if index else "")
            end, cut_lines = body.end, lines
            if boundary in region.outer and text is region.text and region.outer_end > end:
                end, cut_view = region.outer_end, cut_view or "nested-boundary"
                cut_lines = lines_between(text.lines, body.start, end)
            for piece in cuts(cut_lines, boundary, body.start, end):
                part = Region(
                    text=text,
                    start=piece.start,
                    end=piece.end,
                    outer_end=end,
                    view=cut_view or piece.view,
                    depth=region.depth + 1,
                    default_type=default_type,
                    outer=(*region.outer[-_MAX_OUTER:], boundary),
                    container=region.container,
                )
                if isinstance(piece, Outside):
                    self._outside(
                        replace(part, view=view or piece.view, default_type="text/plain", outer=()), piece.view
                    )
                else:
                    found = True
                    self._push(replace(part, end=_before_line_end(text, piece.start, piece.end)))
        return found

    def _outside(self, region: Region, place: str) -> None:
        """Have what lies around the parts read as an entity, if fields of one are in it."""
        buffer, start = region.text.buffer, region.start
        if place == "preamble":
            readings = header_readings(buffer, start, region.end, _OUTSIDE_BYTES)
            start = min((reading.body_start for reading in readings), default=start)
        raw = buffer[start : min(region.end, start + _OUTSIDE_BYTES)].lower()
        at = raw.find(b"content-")
        if at >= 0:
            for begin in {start, start + raw.rfind(b"\n", 0, at) + 1}:
                self._push(replace(region, start=begin, outer_end=region.end))


def _is_container(name: str) -> bool:
    return name.startswith("multipart/") or (name.startswith("message/") and name not in _NOT_OPENED)


def _type(value: bytes) -> _Type:
    lowered = value.lower()
    names = media_types(value)
    return _Type(
        names,
        boundaries(value) if b"boundary" in lowered or b"=?" in value else [],
        names == ["application/octet-stream"] and b"octet" not in lowered,
    )


def _before_line_end(text: Text, start: int, end: int) -> int:
    """Return `end` without the line end there, which belongs to the delimiter."""
    if end > start and text.buffer[end - 1 : end] == b"\n":
        end -= 1
        if end > start and text.buffer[end - 1 : end] == b"\r":
            end -= 1
    return end
