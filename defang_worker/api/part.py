# SPDX-License-Identifier: GPL-3.0-or-later
"""`Part`: one part of a message, to look at and to act on.

A part is a range of the message's bytes; names, content and text are worked out when asked for. What a filter does to
it shows at once in later reads, and is carried out when the message is rebuilt, which leaves all other parts' bytes
alone. Long because it is all that filters call a part.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from defang_worker.api.words import to_text
from defang_worker.mime import compose
from defang_worker.mime.decode import decode_body
from defang_worker.mime.parse import parse
from defang_worker.mime.protected import protector
from defang_worker.mime.shadow import ShadowPart

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.mime.defects import Defect
    from defang_worker.mime.header_edit import FieldChanges
    from defang_worker.mime.headers import Headers
    from defang_worker.mime.tree import Entity

# A smaller body is as quickly decoded whole, and then is there for later.
_DECODED_WHOLE_BYTES: Final = 64 * 1024


class PartHeaders:
    """The header fields of a part, for reading; names are compared without case, values are unfolded text."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first field of that name, or `default`."""
        value = self._headers.get(name)
        return default if value is None else to_text(value)

    def all(self, name: str) -> list[str]:
        """The values of all fields of that name."""
        return [to_text(value) for value in self._headers.all(name)]

    def items(self) -> list[tuple[str, str]]:
        """All fields, name and value."""
        return [(to_text(name), to_text(value)) for name, value in self._headers.items()]


class Part:
    """A part with a body (`is_leaf`), or a container: multipart/*, or an attached message, whose child it is then.

    A part that only another reading of the message has, or a file inside a part's content, `is_shadow`: it is shown
    like the others, and gone from every reading once it is dropped.

    `keep`, `drop` and `replace` may be called from `filter_begin` to `filter_end`; for each part the last call counts,
    but every warning stays. Dropping or replacing a container does so to all that is in it. Nothing inside of a signed
    or encrypted part can be changed (`is_protected`): drop the whole of it, or the message is refused.
    """

    __slots__ = (
        "_children",
        "_message",
        "_parent",
        "_shown",
        "entity",
        "field_changes",
        "is_dropped",
        "is_kept",
        "replacement",
    )

    def __init__(self, message: Message, entity: Entity | ShadowPart, parent: Part | None) -> None:
        self._message = message
        self._parent = parent
        self._children: tuple[Part, ...] | None = None
        self.entity = entity
        """Where the part lies in the message, whatever has become of it since."""
        self._shown = entity
        self.is_dropped = False
        self.is_kept = False
        """Whether the filter said so; shadow parts of which it says nothing go if the message is rewritten."""
        self.replacement: bytes | None = None
        """The entity, header and body, that is to stand in the part's place."""
        self.field_changes: FieldChanges | None = None
        """What is to become of fields of its header, the body staying as it is."""

    def __repr__(self) -> str:
        return f"<Part {self.number or 'root'} {self.content_type} {self.filename!r}>"

    @property
    def number(self) -> str:
        """The part number as mail clients count (RFC 9051, section 6.4.5): "1.2"; empty for the root of a multipart."""
        return self.entity.number

    @property
    def message(self) -> Message:
        """The message that it is a part of."""
        return self._message

    @property
    def parent(self) -> Part | None:
        """The container that the part stands in, for a shadow part the part that hides it; None for the root."""
        return self._parent

    @property
    def children(self) -> tuple[Part, ...]:
        """The parts of a container as they came, those that were dropped too; empty for a leaf."""
        if self.replacement is not None or isinstance(self.entity, ShadowPart):
            return ()
        if self._children is None:
            self._children = tuple(Part(self._message, entity, self) for entity in self.entity.children)
        return self._children

    @property
    def is_shadow(self) -> bool:
        """Whether it is a part in another reading of the message only, or a file inside a part's content."""
        return self.entity.is_shadow

    @property
    def is_gone(self) -> bool:
        """Whether it, or what it stands in, was dropped."""
        part: Part | None = self
        while part is not None and not part.is_dropped:
            part = part.parent
        return part is not None

    @property
    def view(self) -> str:
        """The reading that has the part: "primary" for the usual one, else a word for the other ("epilogue" ...)."""
        return self.entity.view

    @property
    def defects(self) -> tuple[Defect, ...]:
        """What is malformed or ambiguous about the part itself, by names that `docs/ambiguous-mail.md` lists."""
        return self._message.defects_of(self.entity)

    @property
    def is_protected(self) -> bool:
        """Whether it stands in a signed or encrypted part, so that it cannot be changed."""
        entity = self.entity
        return protector(entity.host if isinstance(entity, ShadowPart) else entity) is not None

    @property
    def is_leaf(self) -> bool:
        """Whether it has a body rather than parts. A multipart in which no parts were found is a leaf, too."""
        return self._shown.is_leaf

    @property
    def is_multipart(self) -> bool:
        """Whether it calls itself multipart/*."""
        return self._shown.is_multipart

    @property
    def content_type(self) -> str:
        """Type and subtype in small letters, text/plain if there is none; application/octet-stream if unreadable."""
        return self._shown.content_type

    @property
    def disposition(self) -> str:
        """`attachment`, `inline`, another word in small letters, or empty."""
        return self._shown.disposition

    @property
    def charset(self) -> str:
        """The declared charset in small letters; us-ascii if there is none."""
        return self._shown.charset

    @property
    def headers(self) -> PartHeaders:
        """The part's own header fields."""
        return PartHeaders(self._shown.headers)

    @property
    def filename(self) -> str:
        """The name that most clients would show, decoded; empty if there is none. Rules want `filenames`."""
        return self._shown.filename

    @property
    def filenames(self) -> tuple[str, ...]:
        """All names that any client might show or save under: as spelled, and in canonical form without tricks."""
        return self._shown.filenames

    @property
    def extension(self) -> str:
        """The last dot of `filename` and what follows it, in small letters and without tricks; or empty."""
        return self._shown.extension

    def matches(self, pattern: str | re.Pattern[str]) -> bool:
        """Whether the pattern is found in any of `filenames`; one given as text is taken without regard to case."""
        return self._shown.matches(pattern)

    @property
    def data(self) -> bytes:
        """The body, its transfer encoding undone; of a container the bytes that its parts lie in."""
        return self._shown.content

    def head(self, size: int) -> bytes:
        """The first bytes of `data`, without decoding a large body for them."""
        entity = self._shown
        if (
            isinstance(entity, ShadowPart)
            or not entity.is_leaf
            or entity.end - entity.body_start <= _DECODED_WHOLE_BYTES
        ):
            return self.data[:size]
        # Encoded, a byte takes four at most, but for line ends and blanks; those are what the rest is for.
        start = entity.source.buffer[entity.body_start : entity.body_start + 4 * size + 1024]
        found = decode_body(start, entity.transfer_encoding)[:size]
        return found if len(found) == size else self.data[:size]

    @property
    def detected_type(self) -> str:
        """What it is by its content, whatever its name and type say: a word of `FileType` or `ArchiveKind`.

        "pe", "script", "ole-macros", "ooxml", "zip", "iso", "image" ...; "unknown" for plain text and all else.
        """
        from defang_worker.mime import filetype  # noqa: PLC0415 (for filters that ask)

        return filetype.type_at_start(self.head(filetype.HEAD_BYTES)) or filetype.detected_type(self.data)

    @property
    def text(self) -> str:
        """The body as text in its charset; bytes that do not fit it are guessed at. Never fails."""
        return self._shown.text

    @property
    def size(self) -> int:
        """The length of `data` in bytes."""
        return len(self.data)

    def keep(self, warning: str | None = None) -> None:
        """Leaves the part as it came, which is the default, and takes back an earlier `drop` or `replace`.

        A shadow part that is kept stays as an attachment if the message is rewritten.
        """
        if self._message.body.may_change("Part.keep"):
            self.is_kept = True
            self._become(None, is_dropped=False, warning=warning)

    def drop(self, warning: str | None = None) -> None:
        """Removes the part; the warning, if given, tells the reader in a text part of its own."""
        if self._message.body.may_change("Part.drop"):
            self._become(None, is_dropped=True, warning=warning)

    def replace(
        self,
        content: str | bytes,
        *,
        content_type: str = "text/plain",
        filename: str = "",
        disposition: str = "inline",
        charset: str = "utf-8",
        warning: str | None = None,
    ) -> None:
        """Puts a new part in this one's place; charset and transfer encoding are chosen to fit the content.

        Raises ValueError for a type or disposition with a line end in it.
        """
        if self._message.body.may_change("Part.replace"):
            new = compose.entity(
                content_type,
                content,
                filename=filename,
                disposition=disposition,
                charset=charset,
                eight_bit=self._message.takes_eight_bit,
            )
            self._become(new, is_dropped=False, warning=warning)

    def defang(self, filename: str = "", *, content_type: str = "application/octet-stream", warning: str = "") -> None:
        """Gives the part a name and a type that nothing is started by; its content stays as it is.

        Without a file name it becomes the old one with `.bin` behind it. Nothing happens to a container.
        """
        if not self._message.body.may_change("Part.defang") or self.is_shadow or not self.is_leaf:
            return
        from defang_worker.mime.canonical_fields import safe_name  # noqa: PLC0415  # for filters that rename

        name = filename or f"{safe_name(self.filename) or 'unnamed'}.bin"
        disposition = self.disposition if self.disposition in {"inline", "attachment"} else "attachment"
        self.field_changes = {
            "Content-Type": content_type + compose.name_parameter("name", name),
            "Content-Disposition": disposition + compose.name_parameter("filename", name),
            "Content-Description": None,
            "Content-Location": None,
        }
        self._message.body.part_changed(self)
        self._message.warn(warning or f"The attachment {self.filename or self.content_type} was renamed to {name}.")

    def append_text(self, text: str, *, prepend: bool = False) -> bool:
        """Puts text behind (or before) that of a text part, in its charset; False if that cannot be done faithfully."""
        from defang_worker.api import additions  # noqa: PLC0415  # for filters that add texts

        return self._message.body.may_change("Part.append_text") and additions.to_part(self, text, prepend=prepend)

    def append_html(self, html: str, *, prepend: bool = False) -> bool:
        """Puts HTML at the end (or start) of an HTML part's body; False if that cannot be done faithfully."""
        from defang_worker.api import additions  # noqa: PLC0415

        may_change = self._message.body.may_change("Part.append_html")
        return may_change and additions.to_part(self, html, is_html=True, prepend=prepend)

    def put(self, new: bytes) -> None:
        """Has an edited entity, header and body, stand in the part's place; for `additions.py`."""
        self._become(new, is_dropped=False, warning=None)

    @property
    def shown(self) -> Entity | ShadowPart:
        """What stands in the part's place now; for `additions.py`."""
        return self._shown

    def _become(self, replacement: bytes | None, *, is_dropped: bool, warning: str | None) -> None:
        self.replacement = replacement
        self.field_changes = None
        self.is_dropped = is_dropped
        self._shown = self.entity if replacement is None else parse(replacement).root
        self._message.body.part_changed(self)
        if warning is not None:
            self._message.warn(warning)
