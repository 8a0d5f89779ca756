# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes that end lines for some readers only, or that only some readers see: bare CR, CR CR LF, NUL.

What is wrong with them, and how the message reads otherwise.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from defang_worker.mime.headers import Buffer

# A literal first, lest the search be tried at every byte; then the look behind, lest a run of CR cost its square.
_CR_ALONE: Final = re.compile(rb"\r(?!\n)")
_BARE_CR: Final = re.compile(rb"\r(?<!\r\r)\r*+(?!\n)")
_DOUBLE_CR: Final = re.compile(rb"\r(?<!\r\r)\r++\n")
_LONE_LF: Final = re.compile(rb"\n(?<!\r\n)")
# RFC 5322 section 2.1.1: 998 characters without the line end.
_MAX_LINE_BYTES: Final = 998

Spelling = tuple[str, Callable[[bytes], bytes]]


def first_bare_cr(buffer: Buffer, start: int, end: int) -> int:
    """Return where a CR stands that no LF follows, directly or after more CR; or -1."""
    first = _first(_CR_ALONE, buffer, start, end) if buffer.find(b"\r", start, end) >= 0 else -1
    return _first(_BARE_CR, buffer, max(start, first - 1), end) if first >= 0 else -1


def first_double_cr(buffer: Buffer, start: int, end: int) -> int:
    """Return where a line ends in more than one CR and LF; or -1."""
    return _first(_DOUBLE_CR, buffer, start, end) if buffer.find(b"\r\r", start, end) >= 0 else -1


def first_lone_lf(buffer: Buffer, start: int, end: int) -> int:
    """Return where a line ends in LF alone; or -1."""
    return _first(_LONE_LF, buffer, start, end)


def _first(pattern: re.Pattern[bytes], buffer: Buffer, start: int, end: int) -> int:
    match = pattern.search(buffer, start, end)
    return match.start() if match else -1


def first_long_line(buffer: Buffer, start: int, end: int) -> int:
    """Return where a line begins that is longer than mail allows; or -1."""
    at = start
    while end - at > _MAX_LINE_BYTES:
        line_end = buffer.rfind(b"\n", at, at + _MAX_LINE_BYTES + 2)
        if line_end < 0 or (line_end == at + _MAX_LINE_BYTES + 1 and buffer[line_end - 1 : line_end] != b"\r"):
            line_end = buffer.rfind(b"\n", at, at + _MAX_LINE_BYTES + 1)
            if line_end < 0:
                return at
        at = line_end + 1
    return -1


def other_line_ends(buffer: Buffer) -> Iterator[Spelling]:
    """Yield the names of other spellings of a text, and the functions that make them; none for ordinary text."""
    size = len(buffer)
    has_nul = buffer.find(b"\0") >= 0
    if buffer.find(b"\r") >= 0:
        if first_bare_cr(buffer, 0, size) >= 0:
            yield "cr-as-line-end", lambda text: _with_bare_cr_as(b"\n", text)
            yield "cr-removed", lambda text: _with_bare_cr_as(b"", text)
            yield "cr-as-blank", lambda text: _with_bare_cr_as(b" ", text)
        elif first_double_cr(buffer, 0, size) >= 0:
            yield "cr-as-line-end", lambda text: _with_bare_cr_as(b"\n", text)
    if has_nul:
        yield "nul-removed", lambda text: text.replace(b"\0", b"")
        yield "nul-as-blank", lambda text: text.replace(b"\0", b" ")


def _with_bare_cr_as(new: bytes, text: bytes) -> bytes:
    """Return `text` with each run of CR, but for the one before an LF, replaced by `new`.

    Millions of them may be there, so that this takes a few replacements at the speed of memory: CRLF is out of the way
    meanwhile, as is the byte that stands for it.
    """
    safe = text.replace(b"\1", b"\1\2").replace(b"\r\n", b"\1\3")
    while b"\r\r" in safe:
        safe = safe.replace(b"\r\r", b"\r")
    return safe.replace(b"\r", new).replace(b"\1\3", b"\r\n").replace(b"\1\2", b"\1")
