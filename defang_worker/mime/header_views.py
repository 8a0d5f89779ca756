# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a header may begin and end, and which MIME fields any reader finds in it.

Byte ranges only. The usual reading comes first; the others exist only where the bytes give rise to them.
"""

import re
from typing import Final, NamedTuple

from defang_worker.mime.headers import Buffer

_JUNK: Final = re.compile(
    rb"(?:\xef\xbb\xbf|\xfe\xff|\xff\xfe|[ \t\x0b\x0c\0]*\r*\n|>?From [^\n]*\n|>?[A-Z-]+:? [0-9a-f-]+\r*\n(?=\r*\n))+"
)
_BLANK_LINE: Final = re.compile(rb"\n\r*+\n")
_BLANK_START: Final = re.compile(rb"\r*+\n")
_BLANKS_ONLY: Final = re.compile(rb"\n[ \t\x0b\x0c\xa0\0]+\r*\n")
_FIELD_LINE: Final = re.compile(rb"[^\x00-\x20:\x7f]++[ \t]*+:")
_CONTENT_FIELD: Final = re.compile(rb"(?:[ \t\x0b\x0c]*\r*\n)*content-[a-z-]{2,30}[ \t]*:", re.IGNORECASE)
_LINE_BREAKERS: Final = re.compile(rb"[\x0b\x0c\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9]|\x85")
_NAME: Final = re.compile(rb"([^\n:]{1,120}):")
_NAME_WITHOUT_COLON: Final = re.compile(rb"(content-(?:type|disposition|transfer-encoding))[ \t=;]", re.IGNORECASE)
_FOLDED_COLON: Final = re.compile(rb"[ \t]+:")
_NOT_IN_NAMES: Final = re.compile(rb"[^a-z-]+")
# More readings of one header than this serve no reader.
_MAX_READINGS: Final = 16


class HeaderReading(NamedTuple):
    """One way to tell header from body."""

    view: str
    """Empty for the usual reading."""
    header: bytes
    body_start: int


class MimeFields(NamedTuple):
    """The values, folds and all, of every field that some reader takes for the MIME field."""

    types: list[bytes]
    encodings: list[bytes]
    dispositions: list[bytes]
    locations: list[bytes]


def header_readings(buffer: Buffer, start: int, end: int, max_bytes: int) -> list[HeaderReading]:
    """Return the ways to read the header of the entity at `start`."""
    found: list[HeaderReading] = []
    found += _readings_from(buffer, start, end, max_bytes)
    junk = _JUNK.match(buffer, start, min(end, start + max_bytes))
    if junk:
        others = _readings_from(buffer, junk.end(), end, max_bytes)
        # A text that begins with a blank line has no header there; without MIME fields nobody would show another.
        found += [
            reading._replace(view=reading.view or "after-junk")
            for reading in others
            if b"content-" in reading.header.lower()
        ]
    return list(dict.fromkeys(found))[:_MAX_READINGS]


def _readings_from(buffer: Buffer, start: int, end: int, max_bytes: int) -> list[HeaderReading]:
    """Return the ways to read a header that begins at `start`."""
    found: list[HeaderReading] = []
    if match := _BLANK_START.match(buffer, start, end):
        found.append(HeaderReading("", b"", match.end()))
        header_end = body_start = match.end()
    else:
        match = _BLANK_LINE.search(buffer, max(start - 1, 0), end)
        header_end, body_start = (match.start() + 1, match.end()) if match else (end, end)
        header = buffer[start : min(header_end, start + max_bytes)]
        found.append(HeaderReading("", header, body_start))
        if _LINE_BREAKERS.search(header):
            split = _LINE_BREAKERS.sub(b"\n", header)
            found.append(HeaderReading("control-as-line-end", split, body_start))
            if blank := _BLANK_LINE.search(split):
                found.append(HeaderReading("control-as-line-end", split[: blank.start() + 1], start + blank.end()))
        if blanks := _BLANKS_ONLY.search(header):
            found.append(HeaderReading("blanks-end-header", header[: blanks.start() + 1], start + blanks.end()))
        if (stray := _first_stray(header)) >= 0:
            found.append(HeaderReading("stray-line-ends-header", header[:stray], start + stray))
            line_end = header.find(b"\n", stray)
            if line_end >= 0:
                found.append(HeaderReading("stray-line-ends-header", header[:stray], start + line_end + 1))
    # A blank line too early: fields that follow it belong to the header for who looks for them.
    if match and _CONTENT_FIELD.match(buffer, body_start, min(end, body_start + max_bytes)):
        later = _JUNK.match(buffer, body_start, end)
        fields_start = later.end() if later else body_start
        blank = _BLANK_LINE.search(buffer, fields_start, end)
        late_end, late_body = (blank.start() + 1, blank.end()) if blank else (end, end)
        late = buffer[fields_start : min(late_end, fields_start + max_bytes)]
        found.append(HeaderReading("late-fields", buffer[start : min(header_end, start + max_bytes)] + late, late_body))
    return found


def _first_stray(header: bytes) -> int:
    """Return where the first line is that is neither a field nor a continuation, or -1; all readers pass "From "."""
    at = header.find(b"\n") + 1 if header.startswith(b"From ") else 0
    while at < len(header):
        if header[at] not in b" \t\r\n" and not _FIELD_LINE.match(header, at):
            return at
        line_end = header.find(b"\n", at)
        if line_end < 0:
            break
        at = line_end + 1
    return -1


def mime_fields(header: bytes) -> MimeFields:
    """Return the MIME fields of a header, however their names are spelled."""
    fields = MimeFields([], [], [], [])
    if b"ontent" not in header and b"CONTENT" not in header and b"content" not in header.lower():
        return fields
    kinds = {
        b"content-type": fields.types,
        b"content-transfer-encoding": fields.encodings,
        b"content-disposition": fields.dispositions,
        b"content-location": fields.locations,
    }
    lines = header.split(b"\n")
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if index < len(lines) and (match := _FOLDED_COLON.match(lines[index])) and b":" not in line:
            line = line.rstrip(b" \t\r") + lines[index][match.end() - 1 :]
            index += 1
        match = _NAME.match(line.lstrip(b" \t\xef\xbb\xbf\0")) or _NAME_WITHOUT_COLON.match(line)
        kind = kinds.get(_NOT_IN_NAMES.sub(b"", match[1].lower())) if match else None
        first = index
        while index < len(lines) and lines[index][:1] in {b" ", b"\t"}:
            index += 1
        if kind is not None:
            value = line[match.end() :] if match and match.re is _NAME_WITHOUT_COLON else line.partition(b":")[2]
            kind.append(b"\n".join([value, *lines[first:index]]).rstrip(b"\r"))
    return fields
