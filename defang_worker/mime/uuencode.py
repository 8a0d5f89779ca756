# SPDX-License-Identifier: GPL-3.0-or-later
"""Uuencoded files in text (POSIX uuencode): `begin 644 name`, lines with a length byte each, `end`.

Outlook and others show such a block as an attachment. Also POSIX's other form, `begin-base64`. A line that only looks
like the first one ("begin 644 steps from here") is told by the next, which must be as long as its length byte says;
or, behind a mode and a name, by several that are long enough.
"""

import binascii
import re
from collections.abc import Iterator
from typing import Final

from defang_worker.mime.charsets import guess_text
from defang_worker.mime.decode import decode_runs
from defang_worker.mime.embedded import EmbeddedFile

# Some encoders write no mode, or more digits than three; the name may have blanks, or be missing.
_BEGIN: Final = re.compile(
    rb"^begin(-base64)?[ \t]++(?:(0?[0-7]{3,6})(?:[ \t]++|(?=\r*$)))?([^\r\n]*+)\r*(?:\n|\Z)", re.MULTILINE
)
_ENCODED: Final = re.compile(rb"[ -`]++")
_BASE64_LINE: Final = re.compile(rb"[A-Za-z0-9+/]++={0,2}")
_CLOSING: Final = b"===="
# In a usual line, and how many may be lost at the end of a first one.
_USUAL_CHARACTERS: Final = 60
_MAX_LOST_BLANKS: Final = 4
# A damaged line or two inside a file do not end it.
_MAX_DAMAGED_LINES: Final = 3
# Decoders pass over any lines behind `begin`; of ten that are no file's, not several have the right form.
_MAX_ODD_LINES: Final = 10
_ENOUGH_LINES: Final = 2


def embedded_files(content: bytes) -> Iterator[EmbeddedFile]:
    """Yield the uuencoded files in `content`, which is text after transfer decoding; never raises."""
    at = content.find(b"begin")
    while at >= 0 and (begin := _BEGIN.search(content, at)):
        name = begin[3].strip(b" \t")
        is_likely = begin[2] is not None and name != b""
        block = _base64_block(content, begin.end()) if begin[1] else _block(content, begin.end(), is_likely=is_likely)
        if block is None:
            at = begin.end()
            continue
        pieces, at = block
        names = (guess_text(name),) if name else ()
        yield EmbeddedFile("uuencode", names, b"".join(pieces), begin.start(), at)


def _line(content: bytes, at: int) -> tuple[bytes, int]:
    """Return the line at `at` without its end, and where the next one begins."""
    end = content.find(b"\n", at)
    if end < 0:
        return content[at:].rstrip(b"\r"), len(content)
    return content[at:end].rstrip(b"\r"), end + 1


def _block(content: bytes, start: int, *, is_likely: bool) -> tuple[list[bytes], int] | None:
    """Return the pieces of the file whose lines begin at `start`, and where it ends; None if it is none.

    Where one `is_likely`, its first line need not prove that it is one, if others do.
    """
    pieces: list[bytes] = []
    at = end = start
    damaged = 0
    is_proven = False
    while at < len(content):
        line, following = _line(content, at)
        if line.rstrip(b" \t") == b"end":
            return (pieces, following) if at > start and (pieces or not damaged) else None
        piece = _decoded(line, is_first=not is_proven)
        is_proven = is_proven or bool(piece) or (line[:1] == b"`" and bool(pieces))
        if piece is None and is_likely:
            piece = _decoded_beginning(line)
        if piece is None:
            damaged += 1
            most = _MAX_DAMAGED_LINES if pieces else _MAX_ODD_LINES if is_likely else 0
            if damaged > most or line.startswith(b"begin"):
                break
        else:
            if piece:
                pieces.append(piece)
                damaged = 0
            end = following
        at = following
    return (pieces, end) if pieces and (is_proven or len(pieces) >= _ENOUGH_LINES) else None


def _decoded(line: bytes, *, is_first: bool) -> bytes | None:
    """Return what a line encodes, nothing for one of no bytes; None if it is no such line."""
    if not line.strip(b" \t`"):
        return b""
    if not _ENCODED.fullmatch(line):
        return None
    count = (line[0] - 32) & 63
    characters = len(line) - 1
    whole = (count + 2) // 3 * 4
    # The last group may be cut to what is needed; old encoders add a checksum; blanks, zeros all of them, get lost at
    # the end of a line. But the first line that is to prove it has to be whole.
    needed = _needed_characters(count)
    shortest = needed - (_MAX_LOST_BLANKS if whole == _USUAL_CHARACTERS else 0) if is_first else 0
    if not count or not shortest <= characters <= whole + 1:
        return None
    return binascii.a2b_uu(line[: 1 + needed])  # it minds what fills the last group


def _decoded_beginning(line: bytes) -> bytes | None:
    """Return what a line encodes that has more behind it, which decoders pass over; None if it is too short."""
    count = (line[0] - 32) & 63
    encoded = line[: 1 + _needed_characters(count)]
    if not count or len(line) <= len(encoded) or not _ENCODED.fullmatch(encoded):
        return None
    return binascii.a2b_uu(encoded)


def _needed_characters(count: int) -> int:
    return (count * 8 + 5) // 6


def _base64_block(content: bytes, start: int) -> tuple[list[bytes], int] | None:
    lines: list[bytes] = []
    at = end = start
    is_closed = False
    while at < len(content) and not is_closed:
        line, at = _line(content, at)
        line = line.strip(b" \t")
        is_closed = line == _CLOSING
        if not is_closed and line:
            if not _BASE64_LINE.fullmatch(line):
                break
            lines.append(line)
        end = at
    if not lines or (not is_closed and len(lines[0]) % 4):
        return None
    return [decode_runs(b"".join(lines))], end
