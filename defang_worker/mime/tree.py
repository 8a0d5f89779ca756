# SPDX-License-Identifier: GPL-3.0-or-later
"""A parsed message: entities (RFC 2045 section 2.4) that know where they lie, and read themselves lazily.

`parse.py` makes the tree, `rebuild.py` changes a message by it; both go by the offsets. What a filter
asks for (names, content, text) is worked out when it is first asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from defang_worker.mime.charsets import decode_text
from defang_worker.mime.decode import decode_body, encoding_name
from defang_worker.mime.fields import parse_field
from defang_worker.mime.filenames import all_names, extension, spelled_names
from defang_worker.mime.headers import Buffer, Headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.mime.defects import Defect
    from defang_worker.mime.usual import UsualHeader
    from defang_worker.mime.views import Examination

KIB: Final = 1024
MIB: Final = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a message is examined. One that goes beyond is refused; `Tree.limit_exceeded` names what it was."""

    # Containers count, the message itself too. Honest mail stays below 200; 10,000 cost some 50 ms.
    max_parts: int = 10_000
    """Parts, containers and the message itself counted."""
    # Honest mail nests below 10 deep.
    max_depth: int = 100
    """How deep parts may lie in one another."""
    # Of one entity. Mail servers refuse far shorter headers (Sendmail: 32 KiB, Postfix: 100 KiB).
    max_header_bytes: int = 256 * KIB
    """The size of one header."""
    max_header_fields: int = 2_000
    """The number of its fields."""
    # All encoded messages together, decoded; a message in a message in ... shrinks, but not by much.
    max_nested_bytes: int = 128 * MIB
    """All encoded attached messages together, decoded."""


class Source:
    """A buffer that entities lie in: the message, or the decoded body of an encoded container."""

    __slots__ = ("buffer", "host", "is_international", "level", "limits")

    def __init__(self, buffer: Buffer, limits: Limits, host: Entity | None = None) -> None:
        self.buffer = buffer
        self.limits = limits
        self.host = host
        """The container whose decoded body this is; None for the message itself."""
        self.level: int = host.source.level + 1 if host else 0
        self.is_international: bool | None = None
        """Whether the message came by SMTPUTF8; None until a field with other bytes than ASCII is met."""


class Entity:
    """A header and a body somewhere in a message: the message itself, one of its parts, a nested message.

    The bytes of the entity are `start` to `end` of its source: header fields up to `header_end`, a blank line,
    the body from `body_start`. The line end before a delimiter belongs to the delimiter.
    """

    __slots__ = (
        "_content",
        "_headers",
        "_names",
        "body_start",
        "boundary",
        "children",
        "close_start",
        "content_type",
        "defects",
        "delimiter",
        "depth",
        "end",
        "header_end",
        "index",
        "inner",
        "parent",
        "source",
        "start",
        "usual",
    )

    is_shadow: Final = False
    view: Final = "primary"

    def __init__(self, source: Source, parent: Entity | None, start: int, delimiter: int = -1) -> None:
        self.source = source
        self.parent = parent
        self.children: list[Entity] = []
        self.start = start
        self.header_end = start
        self.body_start = start
        self.end = start
        self.delimiter = delimiter
        """Where the delimiter line before the entity begins; -1 if it is no child of a multipart."""
        self.index = len(parent.children) if parent is not None else 0
        """Its place among its parent's children, from 0."""
        self.depth: int = parent.depth + 1 if parent is not None else 0
        """How many entities it stands in."""
        self.close_start = -1
        """Where a multipart's close-delimiter line begins; -1 if it has none."""
        self.content_type = "text/plain"
        """Type and subtype in small letters; application/octet-stream if they can't be read."""
        self.boundary: bytes | None = None
        self.inner: Source | None = None
        """The decoded body, if this is a container whose children were found there; the entity then has
        a transfer encoding that RFC 2045 section 6.4 forbids, but which some clients decode."""
        self.defects: tuple[Defect, ...] = ()
        """What is wrong with the entity itself, once `views.examine` has seen the tree."""
        self.usual: UsualHeader | None = None
        """What the header says if it has the usual form; None if it has to be read field by field."""
        self._headers: Headers | None = None
        self._content: bytes | None = None
        self._names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"<Entity {self.number or 'message'} {self.content_type} {self.start}:{self.end}>"

    # What it is

    @property
    def is_leaf(self) -> bool:
        """True if no other entity was found in it; a multipart without parts is a leaf, too."""
        return not self.children

    @property
    def is_multipart(self) -> bool:
        """True for multipart/*, whether it has parts or not."""
        return self.content_type.startswith("multipart/")

    @property
    def is_message(self) -> bool:
        """True for an opened message/*: its only child is the message."""
        return bool(self.children) and not self.is_multipart

    @property
    def is_message_root(self) -> bool:
        """True for an entity whose header is a message's: the whole message, or one in message/*."""
        return self.parent is None or not self.parent.is_multipart

    @property
    def number(self) -> str:
        """The part number as IMAP has it (RFC 9051 section 6.4.5): "1.2"; empty for the message if it has parts."""
        digits: list[str] = []
        entity = self
        while entity.parent is not None:
            if entity.delimiter >= 0:
                digits.append(str(entity.index + 1))
            elif not entity.is_multipart:
                digits.append("1")
            entity = entity.parent
        if not entity.is_multipart:
            digits.append("1")
        return ".".join(reversed(digits))

    # Header

    @property
    def headers(self) -> Headers:
        """The header fields, as many as the limits allow."""
        if self._headers is None:
            limits = self.source.limits
            end = min(self.header_end, self.start + limits.max_header_bytes)
            self._headers = Headers(self.source.buffer, self.start, end, max_fields=limits.max_header_fields)
        return self._headers

    @property
    def disposition(self) -> str:
        """Content-Disposition without parameters, in small letters: "attachment", "inline", or empty."""
        if self.usual is not None:
            return self.usual.disposition
        value = self.headers.get("content-disposition")
        return parse_field(value).value if value else ""

    @property
    def charset(self) -> str:
        """The declared charset in small letters; us-ascii if none is."""
        if self.usual is not None:
            return self.usual.charset
        return (self.parameter("charset") or "us-ascii").lower()

    @property
    def transfer_encoding(self) -> str:
        """The declared encoding in its usual spelling, 7bit if none is; the first field counts."""
        if self.usual is not None:
            return self.usual.opening.encoding
        return encoding_name(self.headers.get("content-transfer-encoding"))

    def parameter(self, name: str) -> str | None:
        """Return a Content-Type parameter as text, or None."""
        value = self.headers.get("content-type")
        texts = parse_field(value).texts(name) if value else []
        return texts[0] if texts else None

    # Names

    @property
    def filename(self) -> str:
        """The name that most clients would show, decoded; empty if there is none."""
        names = self.filenames
        return names[0] if names else ""

    @property
    def filenames(self) -> tuple[str, ...]:
        """All names that any client might show or save under, decoded; canonical forms last."""
        if self.usual is not None:
            return self.usual.filenames
        if self._names is None:
            self._names = all_names(spelled_names(self.headers))
        return self._names

    @property
    def extension(self) -> str:
        """The last dot of the file name and what follows, in small letters and without tricks; or empty."""
        return extension(self.filename)

    def matches(self, pattern: str | re.Pattern[str]) -> bool:
        """Tell whether `pattern` is found in any of the names; a string is taken without regard to case."""
        compiled = re.compile(pattern, re.IGNORECASE) if isinstance(pattern, str) else pattern
        return any(compiled.search(name) for name in self.filenames)

    # Content

    @property
    def raw(self) -> bytes:
        """The entity as it stands, header and body."""
        return self.source.buffer[self.start : self.end]

    @property
    def raw_body(self) -> bytes:
        """The body as it stands, still encoded."""
        return self.source.buffer[self.body_start : self.end]

    @property
    def content(self) -> bytes:
        """The body, decoded; kept once it was asked for. A container's is the bytes its children lie in."""
        if self._content is None:
            if self.inner is not None:
                self._content = self.inner.buffer[:]
            else:
                encoding = "binary" if self.children else self.transfer_encoding
                self._content = decode_body(self.raw_body, encoding)
        return self._content

    def keep_content(self, content: bytes) -> None:
        """Take the decoded body from who has decoded it already, to look for damages."""
        self._content = content

    @property
    def text(self) -> str:
        """The decoded body as text in its charset; bytes that do not fit it are guessed at."""
        return decode_text(self.content, self.charset)


class Tree:
    """A message and all entities found in it."""

    __slots__ = ("decoded", "examination", "limit_exceeded", "newline", "part_count", "root", "strays")

    def __init__(self, source: Source) -> None:
        self.root = Entity(source, None, 0)
        self.part_count = 1
        self.limit_exceeded: str | None = None
        """None, or the first limit that was hit ("parts", "depth", "header-size", "header-count",
        "nested-size"): then there may be more in the message than the tree has."""
        self.examination: Examination | None = None
        """What `views.examine` found; None before."""
        self.decoded: list[Entity] = []
        """The containers whose parts were found in their decoded body."""
        self.strays: list[int] = []
        """Where lines of the message begin with two dashes without being delimiters; as many as are kept."""
        first_end = source.buffer.find(b"\n")
        self.newline: bytes = b"\r\n" if first_end > 0 and source.buffer[first_end - 1] == 0x0D else b"\n"
        """The line end of the first line; what is added to the message has the same."""

    @property
    def buffer(self) -> Buffer:
        """The bytes of the message."""
        return self.root.source.buffer

    def walk(self) -> Iterator[Entity]:
        """Yield all entities, the message first, each container before its children."""
        waiting = [self.root]
        while waiting:
            entity = waiting.pop()
            yield entity
            waiting.extend(reversed(entity.children))

    def leaves(self) -> Iterator[Entity]:
        """Yield all entities without children, in their order."""
        return (entity for entity in self.walk() if not entity.children)
