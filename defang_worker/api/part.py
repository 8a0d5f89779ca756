# SPDX-License-Identifier: GPL-3.0-or-later
"""`Part`: one part of a message, to look at and to act on.

A part is a range of the message's bytes; names, content and text are worked out when asked for. What a filter does to
it shows at once in later reads, and is carried out when the message is rebuilt, which leaves all other parts' bytes
alone. What a part tells of itself stands in `part_facts.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from defang_worker.api.part_facts import PartFacts
from defang_worker.mime import compose
from defang_worker.mime.header_edit import header_with, is_field_value
from defang_worker.mime.parse import parse
from defang_worker.mime.protected import protector, protects_shadow
from defang_worker.mime.shadow import ShadowPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.message import Message
    from defang_worker.mime.defects import Defect
    from defang_worker.mime.header_edit import FieldChanges
    from defang_worker.mime.tree import Entity


class Part(PartFacts):
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
        """Whether the filter dropped it."""
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
        if isinstance(entity, ShadowPart):
            return protects_shadow(entity.host)
        return protector(entity) is not None

    def keep(self, warning: str | None = None) -> None:
        """Leaves the part as it came, which is the default, and takes back an earlier `drop` or `replace`.

        A shadow part that is kept stays as an attachment if the message is rewritten, or where it is inside a content.
        """
        if self._message.body.may_change("Part.keep"):
            self.is_kept = True
            self._become(None, is_dropped=False, warning=warning)

    def drop(self, warning: str | None = None) -> None:
        """Removes the part; the warning, if given, tells the reader in a text part of its own."""
        if self._message.body.may_change("Part.drop"):
            self._become(None, is_dropped=True, warning=warning)

    def quarantine(self, reason: str, *, warning: str | None = None) -> None:
        """Removes the part like `drop`, after a copy of it as it is now was written to the quarantine.

        Of a container all that is in it is kept, as bytes.
        """
        if self._message.body.may_change("Part.quarantine"):
            from defang_worker.api.quarantine import KeptPart  # noqa: PLC0415  # for filters that quarantine

            self._message.outbox.keep_part(KeptPart.of(self, reason))
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

    def replace_with_url(
        self, directory: str, base_url: str, text: str = "", *, salt: str = "", metadata: str = ""
    ) -> str:
        """Publishes the content as a file in the directory and puts a text with its address in the part's place; that
        address.

        The name is the SHA-256 of content and salt, with the extension if that is harmless: without a salt, who has the
        content knows the name. In the text (there is a usual one) `{url}` becomes the address and `{name}` the file
        name. `metadata`, if not empty, goes to a file of the same name with a dot before it. All is written when the
        last callback is done and the message is neither refused nor discarded; if that fails, the message is deferred.
        Raises ValueError for a container.
        """
        if not self._message.body.may_change("Part.replace_with_url"):
            return ""
        from defang_worker.api import publishing  # noqa: PLC0415  # for filters that publish

        return publishing.replace_with_url(self, directory, base_url, text, salt=salt, metadata=metadata)

    def defang(self, filename: str = "", *, content_type: str = "application/octet-stream", warning: str = "") -> None:
        """Gives the part a name and a type that nothing is started by; its content stays as it is.

        Without a file name it becomes the old one with `.bin` behind it. Nothing happens to a container.
        Raises ValueError for a type with a line end in it.
        """
        if not is_field_value(content_type):
            raise ValueError(f"no content type: {content_type!r}")
        if not self._message.body.may_change("Part.defang") or self.is_shadow or not self.is_leaf:
            return
        from defang_worker.mime.canonical_fields import safe_name  # noqa: PLC0415  # for filters that rename

        name = filename or f"{safe_name(self.filename) or 'unnamed'}.bin"
        disposition = self.disposition if self.disposition in {"inline", "attachment"} else "attachment"
        told = warning or f"The attachment {self.filename or self.content_type} was renamed to {name}."
        changes = {
            "Content-Type": content_type + compose.name_parameter("name", name),
            "Content-Disposition": disposition + compose.name_parameter("filename", name),
            "Content-Description": None,
            "Content-Location": None,
        }
        self.is_dropped = False
        if self.replacement is None:
            self.field_changes = changes
            self._message.body.part_changed(self)
        else:
            self._become(_with_fields(self._shown, changes), is_dropped=False, warning=None)
        self._message.warn(told)

    def filter_through(self, argv: Sequence[str], *, timeout_s: float = 30.0) -> bool:
        """Puts what a program makes of the content in its place; whether it made a difference.

        The program reads the decoded content from standard input and writes the new one to standard output. It is
        started without a shell, in the message's directory, and killed with all that it started when the time is over.
        Raises `defang_worker.programs.ProgramFailed` if it cannot be started, takes too long, puts out more than 64 MiB
        or ends with another status than 0; ValueError for a container.
        """
        if not self._message.body.may_change("Part.filter_through"):
            return False
        from defang_worker.api import external  # noqa: PLC0415  # for filters that start programs

        return external.filter_through(self, argv, timeout_s)

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
        """Has an edited entity, header and body, stand in the part's place; for `additions.py` and `external.py`."""
        if self.field_changes is not None:
            new = _with_fields(parse(new).root, self.field_changes)
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


def _with_fields(entity: Entity | ShadowPart, changes: FieldChanges) -> bytes:
    """The entity with fields of its header changed, its body as it is."""
    assert not isinstance(entity, ShadowPart)
    return header_with(entity, changes, b"\n") + b"\n" + entity.raw_body
