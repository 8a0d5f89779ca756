# SPDX-License-Identifier: GPL-3.0-or-later
"""The canonical rebuild: a message written anew from its strict tree, so that every reader reads the same.

One Content-Type, Content-Transfer-Encoding and Content-Disposition a part; fresh boundaries, terminators, nothing
outside of parts; leaves encoded from what was decoded; one safe name (canonical_fields.py). Signed and encrypted parts
are copied byte by byte. `Rebuild.canonical_result` calls it; `one_reading.py` proves the outcome before it is used.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final

from defang_worker.mime.canonical_fields import Fields, canonical_value, content_fields, leaf_fields, multipart_type
from defang_worker.mime.charsets import guess_text
from defang_worker.mime.compose import REMOVED_NOTICE, text_entity
from defang_worker.mime.header_edit import FieldChanges, header_with, is_content
from defang_worker.mime.output import HeaderChange, Piece, Rebuilt, content_changes
from defang_worker.mime.parse import parse
from defang_worker.mime.protected import EditRefused, is_protected, protector
from defang_worker.mime.tree import Entity, Tree

_BOUNDARY: Final = re.compile(rb"[A-Za-z0-9]{40}")
_BOUNDARY_CHARS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_FIELD_NAME: Final = re.compile(rb"[!-9;-~]+")
_ODD_BYTES: Final = re.compile(rb"\0|\r(?!\n)|[^\n]{999}")


class CannotRebuild(EditRefused):
    """No canonical form of this message can be written; the text says why."""


class CanonicalRebuild:
    """One rebuild: the strict tree, with what is to be replaced, dropped (None) or changed in it."""

    def __init__(
        self, tree: Tree, replaced: Mapping[Entity, bytes | None], fields: Mapping[Entity, FieldChanges]
    ) -> None:
        self._tree = tree
        self._newline = tree.newline
        self._replaced = replaced
        self._fields = fields
        self._boundaries: set[bytes] = set()

    def result(self, inserted: Sequence[tuple[int, bytes]]) -> Rebuilt:
        """Return the new body and the changes of the header; `inserted` as for `Rebuild.insert`.

        Raises CannotRebuild, and EditRefused for a change within a signed or encrypted part.
        """
        try:
            return self._result(self._tree.root, inserted)
        except RecursionError:  # with limits far over the usual ones
            raise CannotRebuild("its parts lie too deep in one another") from None

    def _result(self, root: Entity, inserted: Sequence[tuple[int, bytes]]) -> Rebuilt:
        self._require_possible(root)
        if root.content_type == "multipart/mixed" and root.children and root not in self._replaced:
            fields, body = self._multipart(root, self._parts(root, inserted))
        elif inserted:
            parts = [self._foreign(new) for index, new in inserted if index == 0]
            if self._replaced.get(root, b"") is not None:
                parts.append(self._entity(root))
            parts += (self._foreign(new) for index, new in inserted if index != 0)
            fields, body = self._multipart(None, parts)
        else:
            fields, body = self._content(root)
        content_type, changes = content_changes(root, fields, others_stay=False)
        changes += _plain_changes(root, is_mime=content_type is not None)
        return Rebuilt(pieces=(Piece(body, 0, len(body)),), content_type=content_type, header_changes=changes)

    def _require_possible(self, root: Entity) -> None:
        if self._tree.limit_exceeded is not None:
            raise CannotRebuild(f"the message is over the limit for {self._tree.limit_exceeded}")
        if is_protected(root) and root not in self._replaced:
            raise CannotRebuild("the message as a whole is signed or encrypted")
        for entity in (*self._replaced, *self._fields):
            place = protector(entity)
            if place is not None and not self._goes(place):
                raise EditRefused(f"part {entity.number} is in a signed or encrypted one")
        for field in root.headers.fields:
            spelled = root.source.buffer[field.start : field.value_start]
            if (is_content(field.name) or field.name.lower() == b"mime-version") and spelled != field.name + b":":
                raise CannotRebuild("a field of the message header is misspelt, and the mail server would not find it")

    def _goes(self, entity: Entity) -> bool:
        place: Entity | None = entity
        while place is not None and place not in self._replaced:
            place = place.parent
        return place is not None

    # Entities: fields, a blank line, a body

    def _entity(self, entity: Entity) -> bytes:
        if is_protected(entity) and entity not in self._replaced:
            return entity.raw
        fields, body = self._content(entity)
        return self._lines(fields) + self._newline + body

    def _foreign(self, new: bytes) -> bytes:
        """Return a new entity in the same form as the others."""
        return self._entity(parse(new).root)

    def _lines(self, fields: Fields) -> bytes:
        lines = (f"{name}: {value}".encode("ascii", "replace") for name, value in fields.items())
        return b"".join(line.replace(b"\n", self._newline) + self._newline for line in lines)

    def _content(self, entity: Entity) -> tuple[Fields, bytes]:
        """Return the Content-* fields of an entity, and its body for them."""
        if entity in self._replaced:
            return self._content(parse(self._replaced[entity] or REMOVED_NOTICE).root)
        if entity.content_type == "message/partial":
            # Put together behind every filter.
            raise CannotRebuild(f"part {entity.number} is a fragment of a message")
        if entity.content_type == "message/external-body":
            return self._content(parse(_told_in_text(entity)).root)
        if entity.is_multipart and entity.children:
            return self._multipart(entity, self._parts(entity, ()))
        if entity.children:
            return self._message(entity, entity.children[0])
        head = entity
        if entity in self._fields:
            head = parse(header_with(entity, self._fields[entity], b"\n", content_only=True) + b"\n").root
        elif any(defect.name == "message-in-leaf" for defect in entity.defects):
            return self._message(entity, parse(entity.content.lstrip(b"\r\n")).root)
        return leaf_fields(head, entity.content, self._newline)

    def _parts(self, container: Entity, inserted: Sequence[tuple[int, bytes]]) -> list[bytes]:
        """Return the parts of a multipart that are left, and those to add, in their order."""
        parts: list[bytes] = []
        for at, child in enumerate(container.children):
            parts += (self._foreign(new) for index, new in inserted if index == at)
            if self._replaced.get(child, b"") is not None:
                parts.append(self._entity(child))
        last = len(container.children)
        parts += (self._foreign(new) for index, new in inserted if index < 0 or index >= last)
        return parts or [self._foreign(REMOVED_NOTICE)]

    def _multipart(self, head: Entity | None, parts: list[bytes]) -> tuple[Fields, bytes]:
        """Return fields and body of a multipart with these parts; `head` is what it was before, if anything."""
        between = self._newline + b"--"
        content = between.join(parts)
        boundary = self._boundary(head, content)
        opener = b"--" + boundary + self._newline
        body = opener + (self._newline + opener).join(parts) + between + boundary + b"--" + self._newline
        told = f'; boundary="{boundary.decode("ascii")}"'
        if head is None:
            return {"Content-Type": "multipart/mixed" + told}, body
        fields = content_fields(head, multipart_type(head) + told, "")
        return {name: value for name, value in fields.items() if name in {"Content-Type", "Content-ID"}}, body

    def _boundary(self, head: Entity | None, content: bytes) -> bytes:
        """Return a boundary that is nowhere else; one of an earlier rebuild stays, so that a second changes nothing."""
        old = head.boundary if head is not None else None
        if old and _BOUNDARY.fullmatch(old) and old not in self._boundaries and old not in content:
            self._boundaries.add(old)
            return old
        return _new_boundary()

    def _message(self, host: Entity, message: Entity) -> tuple[Fields, bytes]:
        """Return fields and body of an attached message, its own header in order too."""
        if is_protected(message) and message not in self._replaced:
            body = message.raw
        else:
            fields, content = self._content(message)
            body = self._message_header(message) + self._lines(fields) + self._newline + content
        return content_fields(host, "message/rfc822", "" if body.isascii() else "8bit"), body

    def _message_header(self, message: Entity) -> bytes:
        fields: list[bytes] = []
        for field in message.headers.fields:
            name = field.name
            if is_content(name) or name.lower() == b"mime-version" or not _FIELD_NAME.fullmatch(name):
                continue
            value = canonical_value(message.source.buffer[field.value_start : field.end])
            fields.append(name + b": " + value.encode("ascii"))
        fields.append(b"MIME-Version: 1.0")
        return b"".join(line.replace(b"\n", self._newline) + self._newline for line in fields)


def _new_boundary() -> bytes:
    return bytes(_BOUNDARY_CHARS[byte % len(_BOUNDARY_CHARS)] for byte in os.urandom(40))


def _told_in_text(entity: Entity) -> bytes:
    """Return a text part that tells where a message/external-body (RFC 2046 section 5.2.3) says its content is."""
    place = guess_text(entity.headers.get("content-type") or b"")
    return text_entity(f"Content that is not in this message:\n{place}\n\n{guess_text(entity.raw_body)}")


def _plain_changes(root: Entity, *, is_mime: bool) -> tuple[HeaderChange, ...]:
    """Return what else the message's header needs: one MIME-Version, and no field with bytes that readers fight over.

    Who sets a new Content-Type adds a missing MIME-Version by himself: `is_mime`.
    """
    changes: list[HeaderChange] = []
    counts: dict[bytes, int] = {}
    versions = root.headers.all("mime-version")
    changes += (HeaderChange("MIME-Version", number, None) for number in range(len(versions), 1, -1))
    if (versions and versions[0] != b"1.0") or not (versions or is_mime):
        changes.append(HeaderChange("MIME-Version", 1, "1.0"))
    for field in root.headers.fields:
        key = field.name.lower()
        counts[key] = counts.get(key, 0) + 1
        value = root.source.buffer[field.value_start : field.end].rstrip(b"\r")
        if not is_content(key) and key != b"mime-version" and _ODD_BYTES.search(value):
            changes.append(HeaderChange(field.name.decode("latin-1"), counts[key], canonical_value(value)))
    return tuple(changes)
