# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the structure of a message: header ends, boundaries, delimiters, nesting."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from defang_worker.mime.byte_checks import RegularLines, passing_over
from defang_worker.mime.contents import embedded_files
from defang_worker.mime.dashes import find_dashed
from defang_worker.mime.delimiters import dash_lines, guessed
from defang_worker.mime.header_checks import MimeField, Note
from defang_worker.mime.readings import boundaries
from defang_worker.mime.tree import Entity, Tree

# RFC 2046 section 5.1, RFC 1847, RFC 6522: what every reader knows.
_KNOWN_MULTIPARTS: Final = frozenset(
    f"multipart/{name}" for name in ("mixed", "alternative", "related", "digest", "report", "signed", "encrypted")
)
_ENCODED: Final = frozenset({"base64", "quoted-printable", "uuencode"})
_NEVER_OPENED: Final = frozenset({"text/rfc822-headers"})
_MIME_FIELD: Final = re.compile(
    rb"(?:[ \t]*\r*\n)*content-(?:type|disposition|transfer-encoding)[ \t]*:", re.IGNORECASE
)
_MIME_FIELD_LINE: Final = re.compile(rb"^content-[a-z-]+[ \t]*:", re.IGNORECASE | re.MULTILINE)
_BEFORE_DASHES: Final = re.compile(rb"[ \t\0\x0b\x0c\xa0\xc2>]*")
_BLANKS: Final = b" \t\r"
_BASE64_BLOCK: Final = re.compile(
    rb"^[A-Za-z0-9+/]{60,76}\r?\n(?:[A-Za-z0-9+/]{60,76}|[A-Za-z0-9+/]{2,75}={1,2})\r?\n", re.MULTILINE
)
_DEEP_LEVELS: Final = 20
_MANY_PARTS: Final = 500
# What is looked at of the text around parts.
_OUTSIDE_BYTES: Final = 64 * 1024
# Delimiters that are almost ones, in one multipart: more say nothing new.
_MAX_NEAR: Final = 50


def check_entity(entity: Entity, fields: Sequence[MimeField], note: Note) -> None:
    """Note the structural defects of one entity, leaf or container."""
    _check_start(entity, fields, note)
    is_declared = entity.usual is not None or any(field.name == b"content-transfer-encoding" for field in fields)
    encoding = entity.transfer_encoding if is_declared else "7bit"
    kind = entity.content_type
    if kind.startswith("multipart/"):
        _check_multipart(entity, fields, note)
        if encoding in _ENCODED:
            note(entity, "transfer-encoding-on-multipart", entity.start, "")
        return
    if kind.startswith("message/"):
        _check_message(entity, encoding, note)
    for field in fields:
        if field.name == b"content-type" and b"oundary" in field.raw.lower() and _is_cut(entity, field.raw):
            note(entity, "boundary-on-leaf", field.offset, "")


def _check_start(entity: Entity, fields: Sequence[MimeField], note: Note) -> None:
    """Note what stands before the header, and how it ends."""
    buffer, start = entity.source.buffer, entity.start
    body_end = min(entity.body_start + 512, entity.end)
    if start < entity.header_end < entity.body_start and not _MIME_FIELD.match(buffer, entity.body_start, body_end):
        return
    body = buffer[entity.body_start : body_end]
    if entity.body_start == entity.header_end < entity.end:
        parent = entity.parent
        is_delimiter = entity.boundary is not None and body.startswith(b"--")
        if is_delimiter:
            note(entity, "delimiter-in-header", entity.header_end, "")
        elif parent is not None or entity.header_end > start:
            note(entity, "header-body-separation", entity.header_end, "no blank line after the header")
    elif (
        entity.body_start == entity.header_end == entity.end
        and fields
        and entity.parent is not None
        and entity.delimiter >= 0
        and buffer[entity.end - 1 : entity.end] != b"\n"
    ):
        note(entity, "delimiter-in-header", entity.end, "no blank line after the header")
    if entity.header_end == start and entity.body_start > start:
        if (
            not entity.is_message
            and re.match(rb"(?:[ \t]*\r*\n)*(?:>?From [^\n]*\n)?[A-Za-z][A-Za-z0-9-]*[ \t]*:", body)
            and (entity.is_message_root or _MIME_FIELD.match(body))
        ):
            note(entity, "junk-before-header", start, "blank line")
    elif entity.content_type not in _NEVER_OPENED and not entity.is_message and _MIME_FIELD.match(body):
        note(entity, "header-body-separation", entity.body_start, "fields after the blank line")


def _check_message(entity: Entity, encoding: str, note: Note) -> None:
    kind = entity.content_type
    if kind == "message/partial":
        note(entity, "message-partial", entity.start, "")
    elif kind == "message/external-body":
        note(entity, "message-external-body", entity.start, "")
    elif entity.children:
        note(entity, "nested-message", entity.start, "")
        inside = entity.children[0]
        header = inside.source.buffer[inside.start : min(inside.header_end, inside.start + _OUTSIDE_BYTES)]
        # RFC 6532 made message/global for headers with UTF-8; several readers open neither.
        if kind == "message/news" or (kind == "message/global" and header.isascii()):
            note(entity, "message-in-leaf", entity.start, "of a type that few readers open")
    is_opened = entity.children or kind in {"message/rfc822", "message/partial", "message/external-body"}
    if encoding in _ENCODED and is_opened and kind != "message/global":  # RFC 6532 section 3.7
        note(entity, "transfer-encoding-on-message", entity.start, "")


def _is_cut(entity: Entity, raw: bytes) -> bool:
    """Tell whether a boundary that a leaf declares occurs in its body."""
    buffer = entity.source.buffer
    return any(
        value.strip() and buffer.find(b"--" + value, entity.body_start, entity.end) >= 0
        for value in boundaries(raw)[:16]
    )


def _check_multipart(entity: Entity, fields: Sequence[MimeField], note: Note) -> None:
    if entity.content_type not in _KNOWN_MULTIPARTS:
        note(entity, "unknown-multipart", entity.start, "")
    if entity.content_type == "multipart/digest" and entity.children:
        note(entity, "digest-default", entity.start, "")
    boundary = entity.boundary
    if boundary is None:
        declared = [value for field in fields if field.name == b"content-type" for value in boundaries(field.raw)]
        if entity.source.limits.max_depth and not declared:
            note(entity, "boundary-missing", entity.start, "")
        return
    if not boundary:
        note(entity, "boundary-empty", entity.start, "")
    _check_ancestors(entity, boundary, note)
    if entity.inner is not None:
        _check_outside(entity, note)
        return
    if not entity.children:
        _check_without_parts(entity, boundary, note)
    elif entity.close_start < 0:
        note(entity, "missing-terminator", entity.end, "")
    _check_outside(entity, note)


def _check_ancestors(entity: Entity, boundary: bytes, note: Note) -> None:
    outer = entity.parent
    while outer is not None:
        if outer.boundary:
            if outer.boundary == boundary:
                note(entity, "boundary-reused", entity.start, "")
            elif boundary and (outer.boundary.startswith(boundary) or boundary.startswith(outer.boundary)):
                note(entity, "boundary-prefix", entity.start, "")
        outer = outer.parent


def _check_without_parts(entity: Entity, boundary: bytes, note: Note) -> None:
    buffer = entity.source.buffer
    body = buffer[entity.body_start : entity.end]
    if entity.close_start >= 0:
        note(entity, "bad-close-delimiter", entity.close_start, "no part before it")
    elif boundary and b"--" + boundary.lower() in body.lower() and b"--" + boundary not in body:
        note(entity, "boundary-case", entity.body_start, "")
    elif not body.strip():
        # Of what they could not deliver, many mail servers send back the header only, as message/rfc822.
        note(entity, "missing-terminator", entity.end, "no body")
    elif guessed(body, dash_lines(body), 1):
        note(entity, "boundary-missing", entity.body_start, "the declared boundary does not occur")
    else:
        note(entity, "boundary-missing", entity.end, "no delimiter at all")


def check_near_delimiters(entity: Entity, regular: list[RegularLines], note: Note) -> None:
    """Note lines that some readers take for delimiters of a multipart, and others don't; in those of `regular` is none.

    Not with the other checks of an entity, for they come before those of the bodies in it, of which `regular` is.
    """
    if not entity.boundary or entity.inner is not None:
        return
    buffer = entity.source.buffer
    needle = b"--" + entity.boundary
    here = [lines for lines in regular if lines.leaf.source is entity.source]
    search = passing_over(here, partial(find_dashed, needle))
    known = {child.delimiter for child in entity.children} | {entity.close_start}
    at, near = entity.start, 0
    while near < _MAX_NEAR and (at := search(buffer, at, entity.end)) >= 0:
        if at not in known:
            near += _check_near(entity, at, len(needle), note)
        at += len(needle)


def _check_near(entity: Entity, at: int, size: int, note: Note) -> int:
    """Note what the text of a delimiter at `at` is, which is none for strict readers; return 1 if it begins a line."""
    buffer = entity.source.buffer
    line = buffer.rfind(b"\n", max(at - 100, 0), at) + 1
    if line == 0 and at > 100:
        return 0
    if not _BEFORE_DASHES.fullmatch(buffer, line, at):
        return 0
    line_end = buffer.find(b"\n", at)
    rest = buffer[at + size : line_end if 0 <= line_end < at + 2_000 else min(at + 2_000, len(buffer))].rstrip(_BLANKS)
    if line < at:
        note(entity, "boundary-whitespace", line, "blank before a delimiter")
    elif 0 <= entity.close_start < at:
        name = "content-in-epilogue" if entity.children else "bad-close-delimiter"
        note(entity, name, line, "a delimiter after the close-delimiter")
    elif rest[:1] == b"-" or rest.lstrip(_BLANKS)[:2] == b"--":
        if not _is_other_delimiter(entity, line):
            note(entity, "bad-close-delimiter", line, "")
    elif rest and not _is_other_delimiter(entity, line):
        note(entity, "delimiter-trailing-text", line, "")
    elif not rest and at < entity.body_start:
        note(entity, "delimiter-in-header", line, "")
    return 1


def check_strays(tree: Tree, note: Note) -> None:
    """Note delimiters in letters of another case, beside some in the right ones."""
    if not tree.strays:
        return
    boundaries_of = {entity.boundary.lower(): entity for entity in tree.walk() if entity.boundary and entity.children}
    if not boundaries_of:
        return
    for hit in tree.strays:
        line = tree.buffer[hit + 2 : hit + 102].partition(b"\n")[0].rstrip(_BLANKS)
        lowered = line.lower()
        entity = boundaries_of.get(lowered) or boundaries_of.get(lowered.removesuffix(b"--"))
        if entity is not None and entity.boundary not in {line, line.removesuffix(b"--")}:
            note(entity, "boundary-case", hit, "")
            return


def _is_other_delimiter(entity: Entity, line: int) -> bool:
    """Tell whether a line is a delimiter of a multipart inside or outside of `entity`."""
    waiting = list(entity.children)
    while waiting:
        inner = waiting.pop()
        if inner.start <= line < inner.end:
            if inner.close_start == line or any(child.delimiter == line for child in inner.children):
                return True
            waiting = list(inner.children)
    return False


def outside_texts(entity: Entity) -> list[tuple[str, int, int]]:
    """Return name, start and end of what a multipart has around its parts, in the buffer that the parts lie in."""
    if entity.boundary is None:
        return []
    if entity.inner is not None:
        buffer, body_start, end = entity.inner.buffer, 0, len(entity.inner.buffer)
    else:
        buffer, body_start, end = entity.source.buffer, entity.body_start, entity.end
    first = entity.children[0].delimiter if entity.children else entity.close_start
    found: list[tuple[str, int, int]] = []
    if first > body_start:
        found.append(("preamble", body_start, first))
    if entity.close_start >= 0:
        line_end = buffer.find(b"\n", entity.close_start, end)
        if 0 <= line_end < end - 1:
            found.append(("epilogue", line_end + 1, end))
    return found


def _check_outside(entity: Entity, note: Note) -> None:
    buffer = (entity.inner or entity.source).buffer
    for view, start, end in outside_texts(entity):
        text = buffer[start : min(end, start + _OUTSIDE_BYTES)]
        if not text.strip():
            continue
        note(entity, "text-outside-parts", start, view)
        if (
            _MIME_FIELD_LINE.search(text)
            or _BASE64_BLOCK.search(text)
            or next(embedded_files(text, is_text=True), None)
        ):
            note(entity, f"content-in-{view}", start, "")


def check_nesting(entity: Entity, part_count: int, note: Note) -> None:
    """Note nesting that is deep, or parts that are many; `entity` is the innermost, or the message."""
    if entity.depth >= _DEEP_LEVELS:
        note(entity, "nesting-too-deep", entity.start, f"{entity.depth} levels")
    elif part_count >= _MANY_PARTS:
        note(entity, "nesting-too-deep", entity.start, f"{part_count} parts")
