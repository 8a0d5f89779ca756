# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a message by splices: what was changed gets new bytes, with the least framing, and nothing else.

`Rebuild` collects wishes and turns them to a `Rebuilt` (output.py). Untouched parts keep every byte, signed ones
stay valid, the preamble, the boundaries and the epilogue stay. No container is left empty, for RFC 2046
section 5.1.1 wants one part at least: a short text takes the place of what was removed. What is said twice about
one part, or about a part and what it stands in, is settled here, which is why one module has all kinds of changes;
new bytes come from `compose.py`.
"""

import os
from typing import Final

from defang_worker.mime.compose import REMOVED_NOTICE
from defang_worker.mime.header_edit import FieldChanges, header_with, is_content
from defang_worker.mime.output import Piece, Rebuilt, content_changes
from defang_worker.mime.parse import parse
from defang_worker.mime.protected import EditRefused, is_protected, protector
from defang_worker.mime.splices import Splices
from defang_worker.mime.tree import Entity, Source, Tree

# Of these a single part says the same as the container: RFC 2046 sections 5.1.3 and 5.1.4. The others mean something.
_COLLAPSIBLE: Final = frozenset({"multipart/mixed", "multipart/alternative"})


class Rebuild:
    """The changes wanted for one message; the last wish for a part counts, one for its container more.

    New entities are bytes: header, blank line, encoded body (see compose.py), with LF line ends, which are
    turned to CRLF in a message that has those.

    With `collapse`, a multipart/mixed or multipart/alternative that loses parts until one is left gives its place
    to that one; otherwise it stays as it is, so that the part keeps its own header.
    """

    def __init__(self, tree: Tree, *, collapse: bool = False) -> None:
        self._tree = tree
        self._collapse = collapse
        self._replaced: dict[Entity, bytes | None] = {}
        self._fields: dict[Entity, FieldChanges] = {}
        self._cleared: list[Entity] = []
        self._inserted: list[tuple[int, bytes]] = []
        self._splices = Splices(tree.newline)

    @property
    def is_changed(self) -> bool:
        """True if there is anything to do; a message without changes must not be rewritten."""
        return bool(self._replaced or self._inserted or self._fields or self._cleared)

    def drop(self, entity: Entity) -> None:
        """Remove an entity, what is in it, and its delimiter.

        Of a message (the whole one, or one in message/rfc822) the content is removed, not the header.
        """
        self._replaced[entity] = None

    def replace(self, entity: Entity, new: bytes) -> None:
        """Put `new` in the place of an entity; of a message only Content-* fields and body are exchanged."""
        self._replaced[entity] = new

    def change_fields(self, entity: Entity, changes: FieldChanges) -> None:
        """Change header fields of an entity, and leave its body where it is; of a message only Content-* fields.

        Nothing comes of it if the entity is dropped or replaced.
        """
        self._fields[entity] = {**self._fields.get(entity, {}), **changes}

    def clear_outside(self, multipart: Entity) -> None:
        """Remove what stands before the first and after the last part of a multipart, which is in no part."""
        self._cleared.append(multipart)

    def keep(self, entity: Entity) -> None:
        """Take back all that was said about an entity itself."""
        self._replaced.pop(entity, None)
        self._fields.pop(entity, None)

    def insert(self, new: bytes, index: int = -1) -> None:
        """Add an entity to the message before its part `index`, counted as parsed; -1 means after the last.

        Entities for the same place keep their order. A message that isn't multipart/mixed is wrapped into one.
        """
        self._inserted.append((index, new))

    def result(self) -> Rebuilt:
        """Return the new body and the changes of the message header. May be called again after more changes.

        Raises EditRefused if a signed or encrypted part would be changed from within.
        """
        root = self._tree.root
        self._splices = Splices(self._tree.newline)
        if root in self._replaced:
            return self._new_root(root, self._replaced[root])
        is_open = root.content_type == "multipart/mixed" and root.inner is None and not root.is_leaf
        self._plan(self._inserted if is_open else [])
        self._plan_fields()
        self._plan_outside()
        self._splices.encode_inner_sources()
        if not self._inserted and (last := self._last_one(root)) is not None:
            return self._collapsed(root, last)
        body = self._splices.pieces(root.source, root.body_start)
        if is_open or not self._inserted:
            content_type, changes = content_changes(root, self._fields.get(root, {}), others_stay=True)
            return Rebuilt(pieces=tuple(body), content_type=content_type, header_changes=changes)
        return self._wrapped(root, body)

    def canonical_result(self) -> Rebuilt:
        """Return the message written anew with the same changes, so that it has one reading: `canonical_rebuild.py`.

        Raises EditRefused, or CannotRebuild, which is one.
        """
        # Few messages need it.
        from defang_worker.mime.canonical_rebuild import CanonicalRebuild  # noqa: PLC0415

        return CanonicalRebuild(self._tree, self._replaced, self._fields).result(self._inserted)

    # The message itself is replaced, or gets a container

    def _new_root(self, root: Entity, new: bytes | None) -> Rebuilt:
        entities = [] if new is None else [(0, new)]
        for index, inserted in self._inserted:
            if index == 0:
                entities.insert(sum(at < 0 for at, _ in entities), (-1, inserted))
            else:
                entities.append((1, inserted))
        news = [self._line_ends(entity) for _, entity in entities] or [self._line_ends(REMOVED_NOTICE)]
        if len(news) == 1:
            return self._single_part(root, news[0])
        boundary = _new_boundary()
        newline = self._tree.newline
        text = b"".join(b"--%b%b%b%b" % (boundary, newline, new, newline) for new in news)
        text += b"--%b--%b" % (boundary, newline)
        return self._with_new_type(root, [_piece(text)], boundary)

    def _wrapped(self, root: Entity, body: list[Piece]) -> Rebuilt:
        """Return multipart/mixed with the whole old body as one part, which takes the Content-* fields along."""
        newline = self._tree.newline
        boundary = _new_boundary()
        before = [new for index, new in self._inserted if index == 0]
        after = [new for index, new in self._inserted if index != 0]
        delimiter = b"--%b%b" % (boundary, newline)
        head = b"".join(delimiter + self._line_ends(new) + newline for new in before) + delimiter
        head += header_with(root, self._fields.get(root, {}), newline, content_only=True)
        tail = b"".join(newline + delimiter + self._line_ends(new) for new in after)
        tail += b"%b--%b--%b" % (newline, boundary, newline)
        return self._with_new_type(root, [_piece(head + newline), *body, _piece(tail)], boundary)

    def _with_new_type(self, root: Entity, pieces: list[Piece], boundary: bytes) -> Rebuilt:
        only = {"Content-Type": f'multipart/mixed; boundary="{boundary.decode("ascii")}"'}
        content_type, changes = content_changes(root, only, others_stay=False)
        return Rebuilt(pieces=tuple(pieces), content_type=content_type, header_changes=changes)

    def _single_part(self, root: Entity, new: bytes) -> Rebuilt:
        """Return a message that has the body of `new`, and of its own fields all but Content-*."""
        entity = parse(new).root
        content_type, changes = content_changes(root, _content_fields(entity), others_stay=False)
        return Rebuilt(pieces=(_piece(entity.raw_body),), content_type=content_type, header_changes=changes)

    def _collapsed(self, root: Entity, last: Entity) -> Rebuilt:
        """Return a message whose only part is what is left of its parts."""
        if (new := self._replaced.get(last)) is not None:
            return self._single_part(root, self._line_ends(new))
        fields = {**_content_fields(last), **self._fields.get(last, {})}
        content_type, changes = content_changes(root, fields, others_stay=False)
        body = self._splices.pieces(last.source, last.body_start, last.end)
        body.append(_piece(self._tree.newline))  # was part of the delimiter
        return Rebuilt(pieces=tuple(body), content_type=content_type, header_changes=changes)

    # Parts below the message

    def _plan(self, inserted: list[tuple[int, bytes]]) -> None:
        """Make the splices of all changed entities, but for those in a container that goes as a whole."""
        waiting = [self._tree.root]
        while waiting:
            container = waiting.pop()
            is_root = container.parent is None
            news = inserted if is_root else []
            is_changed = any(child in self._replaced for child in container.children)
            if is_changed and (is_protected(container) or protector(container) is not None):
                raise EditRefused(f"part {container.number or 'root'} is signed or encrypted, or in such a part")
            if not (is_root and self._inserted) and (last := self._last_one(container)) is not None:
                if not is_root:
                    self._plan_collapse(container, last)
                waiting += [last] if last.children and last not in self._replaced else []
                continue
            if container.is_multipart and (news or is_changed):
                self._plan_multipart(container, news)
            elif container.is_message and is_changed:
                self._plan_message(container.children[0])
            waiting.extend(child for child in container.children if child.children and child not in self._replaced)

    def _last_one(self, container: Entity) -> Entity | None:
        """Return the part that is to take the place of `container`, because all others go; None if it stays."""
        last = None
        while self._collapse and container.content_type in _COLLAPSIBLE and container.inner is None:
            left = [child for child in container.children if self._replaced.get(child, b"") is not None]
            if len(left) != 1 or len(container.children) == 1:
                break
            last = container = left[0]
            if container in self._replaced:
                break
        return last

    def _plan_collapse(self, container: Entity, last: Entity) -> None:
        """Put `last` in the place of the multipart that it is the last part of; a message keeps its fields."""
        header = self._message_fields(container) if container.is_message_root else b""
        if (new := self._replaced.get(last)) is not None:
            self._splices.add(container.source, container.start, container.end, header + self._line_ends(new))
            return
        if header:
            header += header_with(last, self._fields.get(last, {}), self._tree.newline, content_only=True)
            self._splices.add(container.source, container.start, last.body_start, header + self._tree.newline)
        else:
            self._splices.add(container.source, container.start, last.start, b"")
        self._splices.add(container.source, last.end, container.end, b"")

    def _message_fields(self, message: Entity) -> bytes:
        """Return the fields of a message in message/rfc822 that do not tell about its body."""
        newline = self._tree.newline
        headers = message.headers
        kept = [headers.raw(field) + newline for field in headers.fields if not is_content(field.name)]
        if headers.get("mime-version") is None:
            kept.append(b"MIME-Version: 1.0" + newline)
        return b"".join(kept)

    def _plan_fields(self) -> None:
        """Make the splices for headers of which only fields change."""
        for entity, changes in self._fields.items():
            if entity.parent is None or self._is_gone(entity):
                continue
            if protector(entity) is not None:
                raise EditRefused(f"part {entity.number} is in a signed or encrypted one")
            newline = self._tree.newline
            header = header_with(entity, changes, newline)
            if entity.body_start == entity.header_end:  # there is no blank line to end it
                header += newline
            if entity.source.buffer[entity.start - 1 : entity.start] != b"\n" and entity.start:
                header = newline + header
            self._splices.add(entity.source, entity.start, entity.header_end, header)

    def _plan_outside(self) -> None:
        """Make the splices for preambles and epilogues that go."""
        for multipart in self._cleared:
            if self._is_gone(multipart) or not multipart.children:
                continue
            if is_protected(multipart) or protector(multipart) is not None:
                raise EditRefused(f"part {multipart.number or 'root'} is signed or encrypted, or in such a part")
            source = multipart.children[0].source
            is_whole = source is multipart.inner
            self._splices.add(source, 0 if is_whole else multipart.body_start, multipart.children[0].delimiter, b"")
            end = len(source.buffer) if is_whole else multipart.end
            if multipart.close_start >= 0:
                line_end = source.buffer.find(b"\n", multipart.close_start)
                # A line end before the outer delimiter is that one's.
                start = line_end + 1 if end == len(source.buffer) else line_end - len(self._tree.newline) + 1
                if line_end >= 0 and start < end:
                    self._splices.add(source, start, end, b"")

    def _is_gone(self, entity: Entity) -> bool:
        """Tell whether an entity, or its header, is already dealt with."""
        place: Entity | None = entity
        while place is not None:
            if place in self._replaced:
                return True
            place = place.parent
        return self._splices.cover_header(entity)

    def _plan_message(self, message: Entity) -> None:
        """Exchange the content of a message in message/rfc822; its own header fields stay."""
        new = self._message_fields(message) + self._line_ends(self._replaced[message] or REMOVED_NOTICE)
        self._splices.add(message.source, message.start, message.end, new)

    def _plan_multipart(self, multipart: Entity, inserted: list[tuple[int, bytes]]) -> None:
        """Make the splices for all changes of a multipart's children."""
        children = multipart.children
        source = children[0].source
        opener = b"--%b%b" % (multipart.boundary or b"", self._tree.newline)
        end = multipart.close_start
        if end < 0:
            end = len(source.buffer) if source is multipart.inner else multipart.end
        places: dict[int, list[bytes]] = {}
        for index, new in inserted:
            framed = opener + self._line_ends(new) + self._tree.newline
            places.setdefault(len(children) if index < 0 else min(index, len(children)), []).append(framed)
        for at, child in enumerate(children):
            if at in places:
                self._splices.add(source, child.delimiter, child.delimiter, b"".join(places[at]))
            if child not in self._replaced:
                continue
            following = children[at + 1].delimiter if at + 1 < len(children) else end
            replacement = self._replaced[child]
            if replacement is None:
                self._splices.add(source, child.delimiter, following, b"")
            else:
                has_delimiter = at + 1 < len(children) or multipart.close_start >= 0
                needs_line_end = has_delimiter and child.end == following
                self._splices.add(
                    source, child.start, child.end, self._framed(child, replacement, needs_line_end=needs_line_end)
                )
        added = b"".join(places.get(len(children), []))
        if not places and all(child in self._replaced and self._replaced[child] is None for child in children):
            added = opener + self._line_ends(REMOVED_NOTICE) + self._tree.newline
        self._plan_end(multipart, source, end, added)

    def _framed(self, child: Entity, new: bytes, *, needs_line_end: bool) -> bytes:
        """Return `new` with the line ends that its delimiters need, should the old ones have none to spare."""
        text = self._line_ends(new)
        if child.source.buffer[child.start - 1 : child.start] != b"\n":  # the delimiter ended the message
            text = self._tree.newline + text
        return text + self._tree.newline if needs_line_end else text

    def _plan_end(self, multipart: Entity, source: Source, end: int, added: bytes) -> None:
        """Add `added` after the last part, and the close-delimiter if there is none and the end was changed."""
        if multipart.close_start >= 0:
            if added:
                self._splices.add(source, end, end, added)
            return
        last = multipart.children[-1]
        newline = self._tree.newline
        if not added and last not in self._replaced:
            return
        closing = b"--%b--" % (multipart.boundary or b"")
        if end == len(source.buffer):  # else the line end before the outer delimiter follows
            closing += newline
        # After a part that stays, the line end is part of the delimiter, and not of what was there.
        is_dropped = last in self._replaced and self._replaced[last] is None
        self._splices.add(source, end, end, (b"" if is_dropped else newline) + added + closing)

    # Bytes

    def _line_ends(self, new: bytes) -> bytes:
        return new.replace(b"\n", b"\r\n") if self._tree.newline == b"\r\n" and b"\r\n" not in new else new


def _piece(new: bytes) -> Piece:
    return Piece(new, 0, len(new))


def _new_boundary() -> bytes:
    # 128 random bits: neither chance nor the sender puts it into the content.
    return b"=_" + os.urandom(16).hex().encode("ascii")


def _content_fields(entity: Entity) -> dict[str, str | None]:
    """Return the Content-* fields of an entity, the first of each name."""
    fields: dict[str, str | None] = {}
    known: set[bytes] = set()
    for field in entity.headers.fields:
        if is_content(field.name) and field.name.lower() not in known:
            known.add(field.name.lower())
            fields[field.name.decode("latin-1")] = entity.headers.value(field).decode("utf-8", "surrogateescape")
    return fields
