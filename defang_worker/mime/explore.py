# SPDX-License-Identifier: GPL-3.0-or-later
"""Every reading of a message: the leaves that any plausible reader would show.

Works through regions of bytes from a stack, each read in all ways that its bytes give rise to; a region is read once,
however many readings lead to it. Called by `views.py` for a message that the strict reading found fault with.
"""

import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from defang_worker.mime.contents import is_message_content
from defang_worker.mime.damage import is_regular_base64, looks_like_base64, other_readings
from defang_worker.mime.decode import decode_body
from defang_worker.mime.delimiters import (
    MAX_DASH_LINES,
    DashLine,
    Outside,
    cuts,
    dash_lines,
    guessed,
    lines_between,
    present,
)
from defang_worker.mime.field_checks import encodings
from defang_worker.mime.filenames import canonical, names_of
from defang_worker.mime.header_views import HeaderReading, MimeFields, header_readings, mime_fields
from defang_worker.mime.headers import Buffer, Headers
from defang_worker.mime.line_ends import other_line_ends
from defang_worker.mime.readings import boundaries, media_types
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.tree import KIB, MIB, Entity, Tree

# More spellings of one boundary than this are an attack, and named as a limit.
_MAX_BOUNDARIES: Final = 64
_MAX_ENCODINGS: Final = 16
_MAX_ENTITIES: Final = 2_000
_MAX_DEPTH: Final = 100
# Of what is decoded or rewritten, in sizes of the message; small messages may grow more.
_MAX_GROWTH: Final = 4
# Looks at lines that may be delimiters; honest mail takes some hundreds.
_MAX_LINE_LOOKS: Final = 200_000
# In a big body; each may end a run of base64.
_MAX_PADDINGS: Final = 10_000
_FREE_BYTES: Final = 1 * MIB
_FIRST_BYTES: Final = 64 * KIB
_DECODED: Final = frozenset({"base64", "quoted-printable", "uuencode"})


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """Bytes that may be an entity."""

    text: Text
    start: int
    end: int
    outer_end: int
    """Where the container ends, for a multipart that takes its container's boundary."""
    view: str = ""
    depth: int = 0
    default_type: str = "text/plain"
    outer: tuple[bytes, ...] = ()
    """The boundaries of the containers around."""


class _Key(NamedTuple):
    text: int
    start: int
    end: int
    encoding: str


@dataclass(slots=True)
class Explored:
    """What was found beside the strict tree."""

    shadows: list[ShadowPart] = field(default_factory=list)
    limit: str | None = None


def explore(
    tree: Tree, messages: Iterable[tuple[bytes, Entity]], damaged: Container[Entity], *, is_whole: bool
) -> Explored:
    """Return all leaves that are not in `tree`: in `messages`, which are contents of leaves, and in the message itself.

    Of the `damaged` leaves the body is decoded in all ways. Without `is_whole` the message itself is left out.
    """
    return _Explorer(tree, damaged).run(messages, is_whole=is_whole)


def content_key(content: bytes) -> bytes:
    """Return what stands for a content when readings are compared."""
    return hashlib.sha256(content).digest()


class _Explorer:
    def __init__(self, tree: Tree, damaged: Container[Entity]) -> None:
        self._tree = tree
        self._damaged = damaged
        self._found = Explored()
        self._seen: set[tuple[int, int, int, str, int]] = set()
        self._waiting: list[_Region] = []
        self._room = _FREE_BYTES + _MAX_GROWTH * len(tree.buffer)
        self._entities = 0
        self._line_room = _MAX_LINE_LOOKS
        self._texts: list[Text] = []  # kept, so that their id() stays theirs
        self._spelled: set[bytes] = set()
        self._keys: dict[_Key, Entity] = {}
        self._known: dict[bytes, set[str]] | None = None
        self._sources: dict[int, Text] = {}

    def run(self, messages: Iterable[tuple[bytes, Entity]], *, is_whole: bool) -> Explored:
        tree = self._tree
        message = self._text(tree.buffer, None)
        self._sources[id(tree.root.source)] = message
        for entity in tree.walk():
            if not entity.children:
                text = self._sources.get(id(entity.source))
                if text is None:
                    text = self._sources[id(entity.source)] = self._text(entity.source.buffer, entity.source.host)
                self._keys[_Key(id(text), entity.body_start, entity.end, entity.transfer_encoding)] = entity
        if is_whole:
            self._push_text(message, "", depth=0)
        for content, host in messages:
            self._push_text(self._text(content, host), "message-in-leaf", depth=1)
        while self._waiting and self._found.limit is None:
            self._entity_region(self._waiting.pop())
        return self._found

    # Texts and regions

    def _text(self, buffer: Buffer, host: Entity | None) -> Text:
        text = Text(buffer, host)
        self._texts.append(text)
        return text

    def _spend(self, count: int) -> bool:
        self._room -= count
        if self._room < 0:
            self._found.limit = self._found.limit or "view-size"
        return self._room >= 0

    def _push_text(self, text: Text, view: str, *, depth: int, default_type: str = "text/plain") -> None:
        """Have a whole buffer read as an entity, and in each other spelling of its line ends."""
        size = len(text.buffer)
        self._push(
            _Region(text=text, start=0, end=size, outer_end=size, view=view, depth=depth, default_type=default_type)
        )
        for spelling, make in other_line_ends(text.buffer):
            if not self._spend(size):
                return
            other = make(text.buffer[:])
            digest = content_key(other)
            if digest in self._spelled:
                continue
            self._spelled.add(digest)
            size = len(other)
            self._push(
                _Region(
                    text=self._text(other, text.host or self._tree.root),
                    start=0,
                    end=size,
                    outer_end=size,
                    view=view or spelling,
                    depth=depth,
                    default_type=default_type,
                )
            )

    def _push(self, region: _Region) -> None:
        key = (id(region.text), region.start, region.end, region.default_type, len(region.outer) and hash(region.outer))
        if key in self._seen or region.end <= region.start:
            return
        self._seen.add(key)
        if region.depth > _MAX_DEPTH:
            self._found.limit = self._found.limit or "view-depth"
            return
        self._entities += 1
        if self._entities > _MAX_ENTITIES:
            self._found.limit = self._found.limit or "view-count"
            return
        self._waiting.append(region)

    # One entity, in all its readings

    def _entity_region(self, region: _Region) -> None:
        limits = self._tree.root.source.limits
        readings = header_readings(region.text.buffer, region.start, region.end, limits.max_header_bytes)
        for reading in readings:
            self._entity(region, reading)

    def _entity(self, region: _Region, reading: HeaderReading) -> None:
        fields = mime_fields(reading.header)
        view = region.view or reading.view
        types = [(value, media_types(value)) for value in fields.types[:_MAX_BOUNDARIES]]
        if not types:
            types = [(b"", [region.default_type])]
        declared: list[str] = []
        for value in fields.encodings[:_MAX_ENCODINGS]:
            declared += [encoding for encoding in encodings(value) if encoding not in declared]
        declared = declared or ["7bit"]
        is_split, is_leaf = self._containers(region, reading, types, declared, view)
        if is_leaf or not is_split:
            self._leaf(region, reading, fields, types, declared, view)

    def _containers(
        self,
        region: _Region,
        reading: HeaderReading,
        types: list[tuple[bytes, list[str]]],
        declared: list[str],
        view: str,
    ) -> tuple[bool, bool]:
        """Follow each type that makes the body a container; tell whether it is one, and whether it may be a leaf."""
        is_split, is_leaf = False, False
        bodies: list[tuple[Text, int, int, str]] | None = None
        for index, (value, names) in enumerate(types):
            kind_view = view or ("other-content-type" if index else "")
            candidates = boundaries(value) if b"oundary" in value or b"OUNDARY" in value.upper() else []
            has_multipart = any(name.startswith("multipart/") for name in names)
            has_message = any(name.startswith("message/") and _is_opened(name) for name in names)
            if not (candidates or has_multipart or has_message):
                is_leaf = True
                continue
            if bodies is None:
                bodies = self._bodies(region, reading, declared)
            for text, start, end, body_view in bodies:
                found = False
                if candidates or has_multipart:
                    found = self._multipart(
                        region, text, start, end, candidates, names, kind_view or body_view, guess=has_multipart
                    )
                if has_message and (body_view or reading.body_start < region.end):
                    found = True
                    self._message(
                        region, text, reading.body_start if text is region.text else 0, end, kind_view or body_view
                    )
                is_split = is_split or found
            is_leaf = is_leaf or (bool(candidates) and not has_multipart)
        return is_split, is_leaf

    def _bodies(self, region: _Region, reading: HeaderReading, declared: list[str]) -> list[tuple[Text, int, int, str]]:
        """Return the body as it stands (from the header on, for a delimiter may stand there) and decoded."""
        bodies = [(region.text, region.start, region.end, "")]
        for encoding in declared:
            if encoding in _DECODED and self._spend(region.end - reading.body_start):
                content = decode_body(region.text.buffer[reading.body_start : region.end], encoding)
                text = self._text(content, region.text.host or self._host(region))
                bodies.append((text, 0, len(content), f"decoded-{encoding}"))
        return bodies

    def _message(self, region: _Region, text: Text, start: int, end: int, view: str) -> None:
        if text is not region.text:
            self._push_text(text, view, depth=region.depth + 1)
            return
        self._push(
            _Region(
                text=text,
                start=start,
                end=end,
                outer_end=region.outer_end,
                view=view,
                depth=region.depth + 1,
                outer=region.outer,
            )
        )

    def _multipart(
        self,
        region: _Region,
        text: Text,
        start: int,
        end: int,
        candidates: list[bytes],
        names: list[str],
        view: str,
        *,
        guess: bool,
    ) -> bool:
        """Cut the body by each boundary and push the pieces; tell whether there were any."""
        lines = lines_between(text.lines, start, end)
        if lines and lines[0].start == region.start and text is region.text:
            lines = lines[1:] if lines[0].start == start and start else lines
        if not lines:
            return False
        chosen = present(lines, candidates, _MAX_BOUNDARIES)
        is_guessed = guess and not any(boundary.strip() for boundary in chosen)
        if is_guessed:
            chosen += [text for text in guessed(text.buffer, lines, _MAX_BOUNDARIES) if text not in chosen]
        default_type = "message/rfc822" if "multipart/digest" in names else "text/plain"
        self._line_room -= len(lines) * len(chosen)
        if self._line_room < 0 or len(text.lines) >= MAX_DASH_LINES:
            self._found.limit = self._found.limit or "view-lines"
            return False
        found = False
        for index, boundary in enumerate(chosen):
            cut_view = view or ("guessed-boundary" if is_guessed else "other-boundary" if index else "")
            stop = end
            if boundary in region.outer and text is region.text and region.outer_end > end:
                stop, cut_view = region.outer_end, cut_view or "nested-boundary"
                lines = lines_between(text.lines, start, stop)
            for piece in cuts(lines, boundary, start, stop):
                if isinstance(piece, Outside):
                    self._outside(region, text, piece, view)
                    continue
                found = True
                self._push(
                    _Region(
                        text=text,
                        start=piece.start,
                        end=_before_line_end(text.buffer, piece.start, piece.end),
                        outer_end=stop,
                        view=cut_view or piece.view,
                        depth=region.depth + 1,
                        default_type=default_type,
                        outer=(*region.outer[-8:], boundary),
                    )
                )
        return found

    def _outside(self, region: _Region, text: Text, outside: Outside, view: str) -> None:
        """Have what lies around the parts read as an entity, if it begins like one or holds one."""
        start = outside.start
        if outside.view == "preamble":
            readings = header_readings(text.buffer, start, outside.end, _FIRST_BYTES)
            start = min((reading.body_start for reading in readings), default=start)
        raw = text.buffer[start : min(outside.end, start + _FIRST_BYTES)]
        if b"ontent-" in raw or b"CONTENT-" in raw or b"content-" in raw:
            at = raw.lower().find(b"content-")
            line = raw.rfind(b"\n", 0, at) + 1
            for begin in {start, start + line}:
                self._push(
                    _Region(
                        text=text,
                        start=begin,
                        end=outside.end,
                        outer_end=outside.end,
                        view=view or outside.view,
                        depth=region.depth + 1,
                    )
                )

    # Leaves

    def _leaf(
        self,
        region: _Region,
        reading: HeaderReading,
        fields: MimeFields,
        types: list[tuple[bytes, list[str]]],
        declared: list[str],
        view: str,
    ) -> None:
        start, end = min(reading.body_start, region.end), region.end
        names = names_of(fields.dispositions, fields.types, fields.locations)
        content_type = types[0][1][0]
        for index, encoding in enumerate(declared):
            primary = self._keys.get(_Key(id(region.text), start, end, encoding))
            if primary is not None and self._has_names(primary, names):
                if primary in self._damaged:
                    self._readings(region, reading, names, content_type, encoding, view)
                continue
            if not self._spend(end - start):
                return
            content = decode_body(region.text.buffer[start:end], encoding)
            tag = view or ("other-transfer-encoding" if index else "")
            self._record(region, reading, names, content_type, content, tag or "other-names")
            self._readings(region, reading, names, content_type, encoding, tag)
        is_odd = len(declared) > 1 or declared[0] not in {"7bit", "8bit", "binary", "base64", "quoted-printable"}
        if is_odd:
            self._guesses(region, reading, names, content_type, declared, view)

    def _readings(
        self, region: _Region, reading: HeaderReading, names: list[str], content_type: str, encoding: str, view: str
    ) -> None:
        if encoding not in {"base64", "quoted-printable"}:
            return
        body = region.text.buffer[reading.body_start : region.end]
        if encoding == "base64" and is_regular_base64(body, 0, len(body)):
            return
        if len(body) > _FREE_BYTES and body.count(b"=") > _MAX_PADDINGS:
            self._found.limit = self._found.limit or "view-size"
            return
        for other in other_readings(body, encoding):
            if not self._spend(len(other.content)):
                return
            self._record(region, reading, names, content_type, other.content, view or other.view)

    def _guesses(
        self,
        region: _Region,
        reading: HeaderReading,
        names: list[str],
        content_type: str,
        declared: list[str],
        view: str,
    ) -> None:
        """Read a body whose encoding is in doubt as it stands, and decoded by what it looks like."""
        body = region.text.buffer[reading.body_start : region.end]
        guesses = ["7bit"] if any(encoding in _DECODED for encoding in declared) else []
        if looks_like_base64(body) or looks_like_base64(body.strip()):
            guesses.append("base64")
        if b"\nbegin " in body or body.startswith(b"begin "):
            guesses.append("uuencode")
        if b"=\n" in body or b"=\r\n" in body or b"=3D" in body:
            guesses.append("quoted-printable")
        for encoding in guesses:
            if encoding not in declared and self._spend(len(body)):
                content = decode_body(body, encoding)
                self._record(region, reading, names, content_type, content, view or f"guessed-{encoding}")

    def _has_names(self, primary: Entity, names: list[str]) -> bool:
        known = {canonical(name) for name in primary.filenames}
        return all(canonical(name) in known for name in names)

    def _record(
        self, region: _Region, reading: HeaderReading, names: list[str], content_type: str, content: bytes, view: str
    ) -> None:
        """Keep a leaf unless the strict tree, or an earlier view, has the same content with the same names."""
        known = self._known_contents()
        key = content_key(content)
        forms = {form for name in names if (form := canonical(name))}
        if key in known and forms <= known[key]:
            return
        if not content.strip() and not forms:
            return
        known.setdefault(key, set()).update(forms)
        host = self._host(region)
        self._found.shadows.append(
            ShadowPart(
                host=host,
                view=view,
                names=tuple(names),
                content=content,
                content_type=content_type,
                headers=Headers(
                    reading.header, 0, len(reading.header), max_fields=host.source.limits.max_header_fields
                ),
            )
        )
        if is_message_content(content, content_type, names):
            self._push_text(self._text(content, host), view, depth=region.depth + 1)

    def _known_contents(self) -> dict[bytes, set[str]]:
        if self._known is None:
            self._known = {}
            for leaf in self._tree.leaves():
                forms = self._known.setdefault(content_key(leaf.content), set())
                forms.update(canonical(name) for name in leaf.filenames)
        return self._known

    def _host(self, region: _Region) -> Entity:
        """Return the innermost entity of the strict tree that has the whole region in it."""
        if region.text.host is not None:
            return region.text.host
        entity = self._tree.root
        while True:
            inside = [child for child in entity.children if child.start <= region.start and region.end <= child.end]
            if not inside or inside[0].source is not entity.source:
                return entity
            entity = inside[0]


def _is_opened(content_type: str) -> bool:
    return content_type not in {
        "message/delivery-status",
        "message/disposition-notification",
        "message/feedback-report",
        "message/tracking-status",
        "message/http",
    }


def _before_line_end(buffer: Buffer, start: int, end: int) -> int:
    """Return `end` without the line end there, which belongs to the delimiter."""
    if end > start and buffer[end - 1 : end] == b"\n":
        end -= 1
        if end > start and buffer[end - 1 : end] == b"\r":
            end -= 1
    return end
