# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a message by splices: what was changed gets new bytes, with the least framing, and nothing else.

`Rebuild` collects wishes and turns them to a `Rebuilt` (output.py). Untouched parts keep every byte, signed ones
stay valid, the preamble, the boundaries and the epilogue stay. No container is left empty, for RFC 2046
section 5.1.1 wants one part at least: a short text takes the place of what was removed.
"""

import os
from typing import Final, NamedTuple

from defang_worker.mime.compose import encode_base64, encode_body, text_entity
from defang_worker.mime.output import HeaderChange, Piece, Rebuilt
from defang_worker.mime.parse import parse
from defang_worker.mime.tree import Entity, Source, Tree

# The original leaves a multipart without parts, which clients show as nothing or as raw source.
_REMOVED_NOTICE: Final = text_entity("The content of this message was removed.\n")


class _Splice(NamedTuple):
    start: int
    end: int
    new: bytes


class Rebuild:
    """The changes wanted for one message; the last wish for a part counts, one for its container more.

    New entities are bytes: header, blank line, encoded body (see compose.py), with LF line ends, which are
    turned to CRLF in a message that has those.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._replaced: dict[Entity, bytes | None] = {}
        self._inserted: list[tuple[int, bytes]] = []
        self._splices: dict[Source, list[_Splice]] = {}

    @property
    def is_changed(self) -> bool:
        """True if there is anything to do; a message without changes must not be rewritten."""
        return bool(self._replaced or self._inserted)

    def drop(self, entity: Entity) -> None:
        """Remove an entity, what is in it, and its delimiter.

        Of a message (the whole one, or one in message/rfc822) the content is removed, not the header.
        """
        self._replaced[entity] = None

    def replace(self, entity: Entity, new: bytes) -> None:
        """Put `new` in the place of an entity; of a message only Content-* fields and body are exchanged."""
        self._replaced[entity] = new

    def keep(self, entity: Entity) -> None:
        """Take back `drop` and `replace` of an entity."""
        self._replaced.pop(entity, None)

    def insert(self, new: bytes, index: int = -1) -> None:
        """Add an entity to the message before its part `index`, counted as parsed; -1 means after the last.

        Entities for the same place keep their order. A message that isn't multipart/mixed is wrapped into one.
        """
        self._inserted.append((index, new))

    def result(self) -> Rebuilt:
        """Return the new body and the changes of the message header. May be called again after more changes."""
        root = self._tree.root
        self._splices = {}
        if root in self._replaced:
            return self._new_root(root, self._replaced[root])
        is_open = root.content_type == "multipart/mixed" and root.inner is None and not root.is_leaf
        self._plan(self._inserted if is_open else [])
        self._encode_inner_sources()
        body = self._pieces(root.source, root.body_start)
        if is_open or not self._inserted:
            return Rebuilt(pieces=tuple(body), content_type=None, header_changes=())
        return self._wrapped(root, body)

    # The message itself is replaced, or gets a container

    def _new_root(self, root: Entity, new: bytes | None) -> Rebuilt:
        entities = [] if new is None else [(0, new)]
        for index, inserted in self._inserted:
            if index == 0:
                entities.insert(sum(at < 0 for at, _ in entities), (-1, inserted))
            else:
                entities.append((1, inserted))
        news = [self._line_ends(entity) for _, entity in entities] or [self._line_ends(_REMOVED_NOTICE)]
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
        head += b"".join(root.headers.raw(field) + newline for field in root.headers.fields if _is_content(field.name))
        tail = b"".join(newline + delimiter + self._line_ends(new) for new in after)
        tail += b"%b--%b--%b" % (newline, boundary, newline)
        return self._with_new_type(root, [_piece(head + newline), *body, _piece(tail)], boundary)

    def _with_new_type(self, root: Entity, pieces: list[Piece], boundary: bytes) -> Rebuilt:
        return Rebuilt(
            pieces=tuple(pieces),
            content_type=f'multipart/mixed; boundary="{boundary.decode("ascii")}"',
            header_changes=_header_changes(root, {}),
        )

    def _single_part(self, root: Entity, new: bytes) -> Rebuilt:
        """Return a message of which only the header fields that are no Content-* are left."""
        entity = parse(new).root
        values: dict[str, str] = {}
        for field in entity.headers.fields:
            if _is_content(field.name):
                values.setdefault(field.name.decode("latin-1"), entity.headers.value(field).decode("latin-1"))
        types = [name for name in values if name.lower() == "content-type"]
        return Rebuilt(
            pieces=(_piece(entity.raw_body),),
            content_type=values.pop(types[0]) if types else "text/plain",
            header_changes=_header_changes(root, values),
        )

    # Parts below the message

    def _plan(self, inserted: list[tuple[int, bytes]]) -> None:
        """Make the splices of all changed entities, but for those in a container that goes as a whole."""
        waiting = [self._tree.root]
        while waiting:
            container = waiting.pop()
            news = inserted if container.parent is None else []
            if container.is_multipart and (news or any(child in self._replaced for child in container.children)):
                self._plan_multipart(container, news)
            elif container.is_message and container.children[0] in self._replaced:
                self._plan_message(container.children[0])
            waiting.extend(child for child in container.children if child.children and child not in self._replaced)

    def _plan_message(self, message: Entity) -> None:
        """Exchange the content of a message in message/rfc822; its own header fields stay."""
        newline = self._tree.newline
        headers = message.headers
        kept = [headers.raw(field) + newline for field in headers.fields if not _is_content(field.name)]
        if headers.get("mime-version") is None:
            kept.append(b"MIME-Version: 1.0" + newline)
        new = b"".join(kept) + self._line_ends(self._replaced[message] or _REMOVED_NOTICE)
        self._splice(message.source, message.start, message.end, new)

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
                self._splice(source, child.delimiter, child.delimiter, b"".join(places[at]))
            if child not in self._replaced:
                continue
            following = children[at + 1].delimiter if at + 1 < len(children) else end
            replacement = self._replaced[child]
            if replacement is None:
                self._splice(source, child.delimiter, following, b"")
            else:
                has_delimiter = at + 1 < len(children) or multipart.close_start >= 0
                needs_line_end = has_delimiter and child.end == following
                self._splice(
                    source, child.start, child.end, self._framed(child, replacement, needs_line_end=needs_line_end)
                )
        added = b"".join(places.get(len(children), []))
        if not places and all(child in self._replaced and self._replaced[child] is None for child in children):
            added = opener + self._line_ends(_REMOVED_NOTICE) + self._tree.newline
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
                self._splice(source, end, end, added)
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
        self._splice(source, end, end, (b"" if is_dropped else newline) + added + closing)

    # Bytes

    def _splice(self, source: Source, start: int, end: int, new: bytes) -> None:
        self._splices.setdefault(source, []).append(_Splice(start, end, new))

    def _line_ends(self, new: bytes) -> bytes:
        return new.replace(b"\n", b"\r\n") if self._tree.newline == b"\r\n" and b"\r\n" not in new else new

    def _encode_inner_sources(self) -> None:
        """Turn the splices of decoded containers to one splice each of what they were decoded from."""
        deepest = max((source.level for source in self._splices), default=0)
        for level in range(deepest, 0, -1):
            for source in [source for source in self._splices if source.level == level]:
                self._encode_inner(source)

    def _encode_inner(self, source: Source) -> None:
        host = source.host
        assert host is not None
        content = b"".join(piece.buffer[piece.start : piece.end] for piece in self._pieces(source, 0))
        if host.transfer_encoding == "base64":
            encoded = encode_base64(content, self._tree.newline)
        else:
            encoded = encode_body(content, host.transfer_encoding)
        self._splice(host.source, host.body_start, host.end, encoded)

    def _pieces(self, source: Source, start: int) -> list[Piece]:
        """Return what is left of a source from `start` on, and what is new, in order."""
        buffer = source.buffer
        pieces: list[Piece] = []
        at = start
        # Stable, so that splices for one place keep the order in which they were planned.
        for splice in sorted(self._splices.get(source, ()), key=lambda splice: splice[:2]):
            pieces += (Piece(buffer, at, splice.start), _piece(splice.new))
            at = splice.end
        pieces.append(Piece(buffer, at, len(buffer)))
        return [piece for piece in pieces if piece.end > piece.start]


def _piece(new: bytes) -> Piece:
    return Piece(new, 0, len(new))


def _new_boundary() -> bytes:
    # 128 random bits: neither chance nor the sender puts it into the content.
    return b"=_" + os.urandom(16).hex().encode("ascii")


def _is_content(name: bytes) -> bool:
    return name[:8].lower() == b"content-"


def _header_changes(root: Entity, values: dict[str, str]) -> tuple[HeaderChange, ...]:
    """Return what takes all Content-* fields but Content-Type from a message, and sets `values`."""
    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for field in root.headers.fields:
        key = field.name.decode("latin-1").lower()
        if _is_content(field.name) and key != "content-type":
            counts[key] = counts.get(key, 0) + 1
            names.setdefault(key, field.name.decode("latin-1"))
    wanted = {name.lower(): (name, value) for name, value in values.items()}
    changes: list[HeaderChange] = []
    for key, count in counts.items():
        first = 2 if key in wanted else 1
        changes += (HeaderChange(names[key], occurrence, None) for occurrence in range(count, first - 1, -1))
    changes += (HeaderChange(name, 1, value) for name, value in wanted.values())
    return tuple(changes)
