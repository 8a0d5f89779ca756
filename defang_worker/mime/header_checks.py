# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the header of one entity: its lines, its MIME fields, and the names that they give.

One loop over the lines of a header; only lines and fields that are not plain go through the closer checks.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from defang_worker.mime.field_checks import Finding, field_findings
from defang_worker.mime.headers import strip_comments, unfold
from defang_worker.mime.name_checks import conflicting_names, name_findings
from defang_worker.mime.readings import with_any_word
from defang_worker.mime.tree import Entity

Note = Callable[[Entity, str, int, str], None]
"""Takes entity, name of the defect, offset in the entity's buffer, detail."""

_MIME_FIELDS: Final = frozenset(
    {b"content-type", b"content-transfer-encoding", b"content-disposition", b"content-location", b"mime-version"}
)
_REPEATED: Final = {
    b"content-type": "duplicate-content-type",
    b"content-transfer-encoding": "duplicate-transfer-encoding",
    b"content-disposition": "duplicate-disposition",
}
_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_NAME: Final = re.compile(rb"[!-9;-~]+")
_NOT_IN_NAMES: Final = re.compile(rb"[^a-z-]+")
_MBOX_LINE: Final = re.compile(rb">?From ")
_BREAKER_BEFORE_FIELD: Final = re.compile(
    rb"(?:[\x0b\x0c\x1c-\x1e]|\xc2?\x85|\xe2\x80[\xa8\xa9])[ \t]*(?:content-|mime-)", re.IGNORECASE
)
_ENCODED_WORD: Final = re.compile(r"=\?[^?\s]+\?[bBqQ]\?")
_DISPOSITION: Final = re.compile(rb"[ \t]*(?:attachment|inline)[ \t\r]*", re.IGNORECASE)
_ENCODINGS: Final = frozenset({b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable"})
_ORDINARY: Final = bytes([*range(0x20, 0x7F), 0x09, 0x0A, 0x0D])
# RFC 6531 section 4.3: the protocol types of Received.
_BY_SMTPUTF8: Final = re.compile(rb"\bwith\s+UTF8(?:SMTP|LMTP)", re.IGNORECASE)
_USUAL_FIELD_BYTES: Final = 120
_MIME_VERSION: Final = b"1.0"


class MimeField(NamedTuple):
    """One MIME field of an entity."""

    name: bytes
    """In small letters."""
    raw: bytes
    """The value, folds and all, without its last line end."""
    offset: int


def check_header(entity: Entity, note: Note) -> list[MimeField]:
    """Note the defects of an entity's header; return its MIME fields."""
    limits = entity.source.limits
    start = entity.start
    header = entity.source.buffer[start : min(entity.header_end, start + limits.max_header_bytes)]
    fields = _check_lines(entity, header, note)
    if header.translate(None, _ORDINARY) and (match := _BREAKER_BEFORE_FIELD.search(header)):
        note(entity, "odd-whitespace", start + match.start(), "a control that some take for a line end")
    _check_repeats(entity, fields, note)
    for field in fields:
        if field.name in _REPEATED and not _is_plain(field):
            _check_field(entity, field, note)
    return fields


def _is_plain(field: MimeField) -> bool:
    """Tell in no time that nothing is wrong with most fields; a clean Content-Type is looked at for its boundary."""
    if field.name == b"content-transfer-encoding":
        return field.raw.strip(b" \t\r").lower() in _ENCODINGS
    if field.name == b"content-disposition":
        return _DISPOSITION.fullmatch(field.raw) is not None
    return False


def _check_field(entity: Entity, field: MimeField, note: Note) -> None:
    name, raw = field.name.decode("ascii"), field.raw
    if b"=?" in raw:
        raw = with_any_word(raw)
    usual = len(raw) <= _USUAL_FIELD_BYTES
    for finding in _usual_findings(name, raw) if usual else dict.fromkeys(field_findings(name, raw)):
        if finding.name != "raw-8bit-parameter" or not _is_international(entity, field.raw):
            note(entity, finding.name, field.offset, finding.detail)


def _is_international(entity: Entity, raw: bytes) -> bool:
    """Tell whether a field with UTF-8 in it came by SMTPUTF8 (RFC 6531, RFC 6532), where that is legal."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    root = entity
    while root.parent is not None:
        root = root.parent
        if root.content_type == "message/global":
            return True
    source = root.source
    if source.is_international is None:
        source.is_international = any(_BY_SMTPUTF8.search(value) for value in root.headers.all("received"))
    return source.is_international


@lru_cache(maxsize=512)
def _usual_findings(name: str, raw: bytes) -> tuple[Finding, ...]:
    """Return what is wrong with a field; most of mail's fields have been seen before."""
    return tuple(dict.fromkeys(field_findings(name, raw)))


def _check_lines(entity: Entity, header: bytes, note: Note) -> list[MimeField]:
    fields: list[MimeField] = []
    at = entity.start
    current: MimeField | None = None
    is_first = True
    for line in header.split(b"\n"):
        offset = at
        at += len(line) + 1
        first = line[:1]
        if first in {b" ", b"\t"}:
            if is_first:
                note(entity, "odd-folding", offset, "the first line is a continuation")
                current = _field_of(line.lstrip(b" \t"), offset)
                if current:
                    fields.append(current)
            elif not line.strip(b" \t\r"):
                note(entity, "odd-folding", offset, "a continuation of blanks")
            elif current is not None:
                current = fields[-1] = current._replace(raw=current.raw + b"\n" + line.rstrip(b"\r"))
            is_first = False
            continue
        current = None
        if not line or line == b"\r":
            continue
        name, colon, value = line.partition(b":")
        if colon and name.replace(b"-", b"").isalnum():
            lowered = name.lower()
            if lowered in _MIME_FIELDS:
                current = MimeField(lowered, value.rstrip(b"\r"), offset)
        else:
            current = _odd_line(entity, line, offset, note, is_first=is_first)
        if current is not None:
            fields.append(current)
        is_first = False
    return fields


def _field_of(line: bytes, offset: int) -> MimeField | None:
    """Return the MIME field that a line is for a reader who overlooks what is wrong with the name."""
    name, colon, value = line.partition(b":")
    lowered = _NOT_IN_NAMES.sub(b"", name.lower()) if len(name) < 100 else b""
    return MimeField(lowered, value.rstrip(b"\r"), offset) if colon and lowered in _MIME_FIELDS else None


def _odd_line(entity: Entity, line: bytes, offset: int, note: Note, *, is_first: bool) -> MimeField | None:
    """Note what is wrong with a line whose name is no plain one; return the field that it may be."""
    if is_first and line.startswith(_MARKS):
        note(entity, "bom-before-header", offset, "")
        return _field_of(line[3:], offset)
    if is_first and _MBOX_LINE.match(line):
        note(entity, "junk-before-header", offset, "mbox line")
        return None
    name, colon, _ = line.partition(b":")
    bare = name.rstrip(b" \t")
    if colon and _NAME.fullmatch(bare):
        if bare != name:
            note(entity, "space-before-colon", offset, "")
        return _field_of(line, offset)
    found = _field_of(line, offset)
    if found is not None:
        note(entity, "odd-whitespace", offset, "a control or strange character in a field name")
    else:
        note(entity, "header-body-separation", offset, "a line that is no field")
    return found


def _check_repeats(entity: Entity, fields: list[MimeField], note: Note) -> None:
    first: dict[bytes, bytes] = {}
    for field in fields:
        value = unfold(field.raw)
        known = first.setdefault(field.name, value)
        if known is not value and (name := _REPEATED.get(field.name)):
            note(entity, name, field.offset, "the same again" if known == value else "")


def check_mime_version(entity: Entity, fields: list[MimeField], note: Note) -> None:
    """Note what is wrong with the MIME-Version of a message that has MIME fields."""
    versions = [field for field in fields if field.name == b"mime-version"]
    if not versions:
        # RFC 2045 section 4 wants it in attached messages, too, but digests of mailing lists hardly ever have it.
        outer = entity.parent.parent if entity.parent is not None else None
        is_in_digest = outer is not None and outer.content_type == "multipart/digest"
        if not is_in_digest and any(field.name != b"content-location" for field in fields):
            note(entity, "mime-version", entity.start, "absent")
    elif len(versions) > 1:
        note(entity, "mime-version", versions[1].offset, "repeated")
    else:
        value = unfold(versions[0].raw)
        if value != _MIME_VERSION and re.sub(rb"\s", b"", strip_comments(value)) != _MIME_VERSION:
            note(entity, "mime-version", versions[0].offset, "not 1.0")


def check_names(entity: Entity, fields: list[MimeField], note: Note) -> None:
    """Note what is wrong with the names of an entity."""
    dispositions = [field.raw for field in fields if field.name == b"content-disposition"]
    types = [field.raw for field in fields if field.name == b"content-type"]
    if not any(b"name" in raw.lower() for raw in dispositions + types):
        if entity.filenames:
            note(entity, "name-elsewhere", entity.start, "")
            _check_spellings(entity, note)
        return
    check_text_name(entity, note)
    if len(entity.filenames) > 1 and conflicting_names(dispositions, types):
        note(entity, "conflicting-names", entity.start, "")
    _check_spellings(entity, note)


def check_text_name(entity: Entity, note: Note) -> None:
    """Note a text that is a file; all that is to be noted of a header of the usual form."""
    if entity.filenames and entity.content_type.startswith("text/"):
        note(entity, "text-with-filename", entity.start, "")


def _check_spellings(entity: Entity, note: Note) -> None:
    seen: set[str] = set()
    for name in entity.filenames:
        if _ENCODED_WORD.search(name):  # the raw form of a name that is there decoded, too
            continue
        for found in name_findings(name):
            if found not in seen:
                seen.add(found)
                note(entity, found, entity.start, "")
