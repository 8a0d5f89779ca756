# SPDX-License-Identifier: GPL-3.0-or-later
"""How a body may be cut into parts: by which boundary, and by how strict a reader.

A body's lines that begin with two dashes are listed once; each boundary is then looked for in the list, so that
neither nesting nor many candidates multiply the cost of searching.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final, NamedTuple

from defang_worker.mime.headers import Buffer

# Only so much as a line of mail may have is taken of one.
_DASHES_AT_START: Final = re.compile(rb"([ \t\0\x0b\x0c\xa0\xc2>]{0,8})--([^\n]{0,1100})")
_DASHES: Final = re.compile(rb"\n" + _DASHES_AT_START.pattern)
_FIELD_FOLLOWS: Final = re.compile(rb"\r*\n(?:[ \t]*\r*\n)?(?:[A-Za-z][A-Za-z0-9-]*[ \t]*:|\r*\n)")
MAX_DASH_LINES: Final = 100_000
"""More are not listed."""
_PADDING: Final = b" \t\r"
_LINE_FEED: Final = 0x0A


class DashLine(NamedTuple):
    """A line that begins with two dashes, perhaps after blanks."""

    start: int
    text: bytes
    """What follows the dashes, at most as long as a line of mail."""
    end: int
    """Where its line feed is, or the end of the buffer."""
    is_indented: bool


class Piece(NamedTuple):
    """What lies between two delimiters."""

    view: str
    start: int
    end: int


class Outside(NamedTuple):
    """What lies before the first or after the last delimiter."""

    view: str
    start: int
    end: int


def dash_lines(buffer: Buffer) -> list[DashLine]:
    """Return all lines of `buffer` that may be delimiters."""
    lines: list[DashLine] = []
    size = len(buffer)
    first = _DASHES_AT_START.match(buffer)
    found = _DASHES.finditer(buffer)
    for match in islice(found if first is None else chain((first,), found), MAX_DASH_LINES):
        end = match.end()
        if end < size and buffer[end] != _LINE_FEED:
            end = buffer.find(b"\n", end)
            end = size if end < 0 else end
        lines.append(DashLine(match.start(1), match[2], end, match.end(1) > match.start(1)))
    return lines


def lines_between(lines: list[DashLine], start: int, end: int) -> list[DashLine]:
    """Return those of `lines` (in their order) that begin from `start` to before `end`."""
    return lines[bisect_left(lines, (start,)) : bisect_left(lines, (end,))]


def present(lines: list[DashLine], candidates: list[bytes], limit: int) -> list[bytes]:
    """Return the candidates that occur as delimiters in the strict or in a loose sense, `limit` at most."""
    exact = {line.text.rstrip(_PADDING) for line in lines}
    exact |= {text[:-2] for text in exact if text.endswith(b"--")}
    found = [candidate for candidate in candidates if candidate in exact]
    loose = {_loose(text) for text in exact}
    found += [candidate for candidate in candidates if _loose(candidate) in loose and candidate.strip()]
    if not found:
        found = [
            candidate
            for candidate in candidates[:limit]
            if candidate.strip() and any(_is_prefix(line.text, candidate) for line in lines)
        ]
    return list(dict.fromkeys(found))[:limit]


def _loose(text: bytes) -> bytes:
    return text.replace(b"\0", b"").strip(b" \t\r\x0b\x0c\"'-").lower()


def _is_prefix(text: bytes, boundary: bytes) -> bool:
    return text.replace(b"\0", b"").lstrip(b" \t").lower().startswith(boundary.strip().lower())


def guessed(buffer: Buffer, lines: list[DashLine], limit: int) -> list[bytes]:
    """Return what look like boundaries: texts of dashed lines that are followed by a field or a blank line."""
    found: dict[bytes, None] = {}
    for line in lines:
        text = line.text.rstrip(_PADDING)
        if (
            text
            and text not in found
            and not line.is_indented
            and _FIELD_FOLLOWS.match(buffer, line.end - (line.text[-1:] == b"\r"))
        ):
            found[text] = None
            if len(found) >= limit:
                break
    return list(found)


def cuts(lines: list[DashLine], boundary: bytes, start: int, end: int) -> Iterator[Piece | Outside]:
    """Yield the parts of a body by every rule that a reader may have: strict, past the close-delimiter, loose."""
    strict: list[DashLine] = []
    strict_close: DashLine | None = None
    through: list[DashLine] = []
    loose: list[DashLine] = []
    for line in lines:
        text = line.text.rstrip(_PADDING)
        is_close = text == boundary + b"--"
        if not line.is_indented and (text == boundary or is_close):
            if strict_close is None:
                if is_close:
                    strict_close = line
                else:
                    strict.append(line)
            through.append(line)
            loose.append(line)
        elif boundary and _is_prefix(line.text, boundary):
            loose.append(line)
    stop = strict_close.start if strict_close else end
    yield from _pieces("", strict, stop)
    if len(through) > len(strict) + (strict_close is not None) or (strict_close and not strict):
        yield from _pieces("past-close-delimiter", through, end)
    if len(loose) > len(through):
        yield from _pieces("loose-delimiter", loose, end)
    used = strict or ([strict_close] if strict_close else loose)
    if used:
        yield Outside("preamble", start, used[0].start)
    if strict_close:
        yield Outside("epilogue", min(strict_close.end + 1, end), end)


def _pieces(view: str, lines: list[DashLine], end: int) -> Iterator[Piece]:
    for index, line in enumerate(lines):
        stop = lines[index + 1].start if index + 1 < len(lines) else end
        if line.end + 1 < stop:
            yield Piece(view, line.end + 1, stop)
