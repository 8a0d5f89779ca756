# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged base64 and quoted-printable: what is wrong, and how else mail clients read it.

`decode.py` has the reading that is shown first. Here are the others, for `views.py`, which asks for them only if a
body is not as regular as `is_regular_base64` and `first_odd_pair` would have it. All of it is linear in the size of
the body, and any bytes will do.
"""

import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import pybase64

from defang_worker.mime.decode import (
    NOT_BASE64,
    decode_base64,
    decode_body,
    decode_quoted_printable,
    decode_run,
    decode_runs,
)
from defang_worker.mime.headers import Buffer

# RFC 5321 section 4.5.3.1.6 has 1,000 bytes for a line, its end included.
_LONGEST_LINE_BYTES: Final = 998
# Encoders write 60 to 76 characters a line; no honest one fewer than this.
_SHORTEST_LINE_BYTES: Final = 16
# What is checked at once: small enough for the processor's cache.
_LINES_AT_ONCE: Final = 1024
# A word in a footer may consist of base64's letters; a line as long as this and of quartets does so hardly ever.
_SURE_LINE_BYTES: Final = 20
# Less could be a word, a key, or a number in hexadecimal.
_SHORTEST_UNDECLARED_BYTES: Final = 32
_BLANKS: Final = b" \t\r"
_DATA_LINE: Final = re.compile(rb"[A-Za-z0-9+/=]++")
_QUARTETS: Final = re.compile(rb"[A-Za-z0-9+/]++={0,2}")
_URL_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")
_STRAY: Final = re.compile(rb"[^A-Za-z0-9+/=\s]|(?<=[A-Za-z0-9+/=])[ \t]++(?=[A-Za-z0-9+/=])")
# Whatever follows the sign but two capital digits, a line end, or nothing at all.
_ODD_PAIR: Final = re.compile(rb"=(?![0-9A-F]{2}|\r?\n|\Z)")
_MIXED: Final = tuple(re.compile(group) for group in (rb"[A-Z]", rb"[a-z]", rb"[0-9+/=]"))


class Damage(NamedTuple):
    """One defect of an encoded body."""

    name: str
    """As in `defects.DEFECTS`."""
    offset: int
    """In the body."""
    detail: str


class Reading(NamedTuple):
    """The body as some clients decode it."""

    view: str
    """ "base64-text" is what stands around the data, undecoded; all others are decoded contents."""
    content: bytes


def damages(body: bytes, encoding: str) -> list[Damage]:
    """Return what is wrong with `body`, each defect once, where it is seen first."""
    match encoding:
        case "base64":
            return base64_damages(body)
        case "quoted-printable":
            return quoted_printable_damages(body)
        case _:
            return []


def other_readings(body: bytes, encoding: str) -> list[Reading]:
    """Return the contents that some clients see instead of `decode_body`'s, each content once."""
    match encoding:
        case "base64":
            candidates = base64_readings(body)
        case "quoted-printable":
            candidates = quoted_printable_readings(body)
        case _:
            return []
    known = {b"", decode_body(body, encoding)}
    readings: list[Reading] = []
    for reading in candidates:
        if reading.content not in known:
            known.add(reading.content)
            readings.append(reading)
    return readings


# What is wrong with base64


def is_regular_base64(buffer: Buffer, start: int, end: int, take: Callable[[bytes], None] | None = None) -> bool:
    """Tell whether a body is base64 as encoders write it; costs little more than decoding, and hardly any memory.

    True: lines of one length, nothing but the alphabet, padding at the end alone; `take` has then been given the whole
    decoded content in pieces, if the lines have a length to go by. False: ask `base64_damages`.
    """
    line_end = buffer.find(b"\n", start, end)
    if line_end < 0 or line_end - start > _LONGEST_LINE_BYTES:
        return not base64_damages(buffer[start:end])
    end_bytes = 2 if buffer[line_end - 1 : line_end] == b"\r" else 1
    line_bytes = line_end + 1 - start
    characters = line_bytes - end_bytes
    if characters < _SHORTEST_LINE_BYTES or characters % 4:
        return not base64_damages(buffer[start:end])
    at = start
    # The last lines may be shorter and padded.
    while at + 2 * line_bytes < end:
        count = min(_LINES_AT_ONCE, (end - at) // line_bytes - 1)
        lines = buffer[at : at + count * line_bytes]
        if lines[line_bytes - 1 :: line_bytes] != b"\n" * count:
            break
        if end_bytes == 2 and lines[characters::line_bytes] != b"\r" * count:
            break
        decoded = _decoded_or_nothing(lines)
        if len(decoded) * 4 != characters * count * 3:
            break
        if take is not None:
            take(decoded)
        at += count * line_bytes
    # One line more, so that a blank one after it is seen to be inside.
    if base64_damages(buffer[max(at - line_bytes, start) : end]):
        return False
    if take is not None:
        take(decode_body(buffer[at:end], "base64"))
    return True


def _decoded_or_nothing(lines: bytes) -> bytes:
    try:
        return pybase64.b64decode(lines)
    except binascii.Error:
        return b""


def base64_damages(body: bytes) -> list[Damage]:
    """Return what is wrong with a body of base64."""
    scan = _Base64Scan()
    at = 0
    for line in body.split(b"\n"):
        scan.line(line, at)
        at += len(line) + 1
    scan.end(body)
    return sorted(scan.found.values(), key=lambda damage: damage.offset)


class _Base64Scan:
    """One pass over the lines of a body."""

    def __init__(self) -> None:
        self.found: dict[str, Damage] = {}
        self._data_lines = 0
        self._longest = 0
        self._blank_at = -1
        self._characters = 0
        """Of the alphabet, before the first padding."""
        self._padding = 0
        self._is_over = False
        """True after the padding, or after text that follows data without padding."""
        self._is_text = False
        """True once text was seen after the data."""

    def _note(self, name: str, offset: int, detail: str) -> None:
        self.found.setdefault(name, Damage(name, offset, detail))

    def line(self, raw: bytes, at: int) -> None:
        """Look at one line."""
        line = raw.strip(_BLANKS)
        if not line:
            self._blank_at = at if self._data_lines and self._blank_at < 0 else self._blank_at
            return
        is_data = _DATA_LINE.fullmatch(line) is not None
        if not self._is_over and not is_data and _is_text(line):
            if not self._data_lines:
                self._note("base64-trailing-data", at, "text before the data")
                return
            self._is_over = True
        if self._is_over and not self._goes_on(line, at, is_data=is_data):
            return
        if self._blank_at >= 0:
            self._note("base64-odd-lines", self._blank_at, "blank line inside")
        self._data_lines += 1
        self._data(line, at, is_data=is_data)

    def _goes_on(self, line: bytes, at: int, *, is_data: bool) -> bool:
        """Tell whether a line after the padding is more data."""
        is_sure = is_data and len(line) >= _SURE_LINE_BYTES and len(line) % 4 == 0
        if is_sure or (is_data and not self._is_text):
            if line.strip(b"="):
                name = "base64-inner-padding" if self._padding else "base64-stray-characters"
                self._note(name, at, "data goes on")
            return True
        self._is_text = True
        self._note("base64-trailing-data", at, "text after the data")
        return False

    def _data(self, line: bytes, at: int, *, is_data: bool) -> None:
        if not is_data and (stray := _STRAY.search(line)):
            self._note("base64-stray-characters", at + stray.start(), "outside the alphabet")
        self._longest = max(self._longest, len(line))
        if len(line) > _LONGEST_LINE_BYTES:
            self._note("base64-odd-lines", at, "very long line")
        data, sign, rest = line.partition(b"=")
        if not self._is_over:
            self._characters += len(data) if is_data else len(data.translate(None, NOT_BASE64))
        if sign:
            if not self._is_over or not line.strip(b"="):
                self._padding += len(rest) - len(rest.lstrip(b"=")) + 1
            self._is_over = True
            if rest.translate(None, NOT_BASE64 + b"="):
                self._note("base64-inner-padding", at + len(data), "data after padding")

    def end(self, body: bytes) -> None:
        """Look at the body as a whole."""
        if self._data_lines > 1 and self._longest < _SHORTEST_LINE_BYTES:
            self._note("base64-odd-lines", 0, "very short lines")
        if (self._characters + self._padding) % 4 or self._padding > 2:
            self._note("base64-bad-length", len(body), "not a multiple of four")


def _is_text(line: bytes) -> bool:
    """Tell whether a line that is not only base64 is words rather than data with something in it."""
    if b" " not in line:
        return False
    characters = len(line.translate(None, NOT_BASE64))
    return characters < _SURE_LINE_BYTES or characters % 4 != 0


# How else it can be read


def base64_readings(body: bytes) -> Iterator[Reading]:
    """Yield all readings of a damaged body, the usual one and equal ones included."""
    characters = body.translate(None, NOT_BASE64)
    yield Reading("base64-joined", decode_runs(characters))
    yield Reading("base64-to-padding", base64_to_padding(characters))
    yield Reading("base64-quartets", base64_to_whole_padding(characters))
    yield Reading("base64-no-padding", decode_run(characters.replace(b"=", b"")))
    if b"-" in body or b"_" in body:
        yield Reading("base64-url", decode_base64(body.translate(_URL_ALPHABET)))
    if any(damage.name == "base64-trailing-data" for damage in base64_damages(body)):
        data, text = base64_lines_and_text(body)
        yield Reading("base64-lines", decode_runs(data))
        yield Reading("base64-text", text)


def base64_to_padding(characters: bytes) -> bytes:
    """Return what is before the first padding sign, wherever that stands."""
    return decode_run(characters.partition(b"=")[0])


def base64_to_whole_padding(characters: bytes) -> bytes:
    """Return what is before the first padding that completes a quartet; a sign elsewhere is skipped."""
    try:
        return binascii.a2b_base64(characters)
    except binascii.Error:
        return b""


def base64_lines_and_text(body: bytes) -> tuple[bytes, bytes]:
    """Return the lines that are nothing but base64, joined, and the other lines as they stand.

    A line whose characters make no quartets counts as data only right after one that is.
    """
    data: list[bytes] = []
    text: list[bytes] = []
    was_data = False
    for raw in body.split(b"\n"):
        line = raw.strip(_BLANKS)
        if not line:
            was_data = was_data and not data[-1].endswith(b"=")
            continue
        was_data = bool(_QUARTETS.fullmatch(line)) and (len(line) % 4 == 0 or was_data)
        if was_data:
            data.append(line)
        else:
            text.append(raw + b"\n")
    return b"".join(data), b"".join(text)


def looks_like_base64(body: bytes) -> bool:
    """Tell whether a body that declares no encoding is base64 for all that: lines of one length, and nothing else."""
    lines = body.strip(b" \t\r\n").replace(b"\r\n", b"\n").split(b"\n")
    joined = b"".join(lines)
    if len(joined) < _SHORTEST_UNDECLARED_BYTES or len(joined) % 4 or not _QUARTETS.fullmatch(joined):
        return False
    if any(len(line) != len(lines[0]) for line in lines[:-1]) or len(lines[-1]) > len(lines[0]):
        return False
    if len(lines) > 1 and len(lines[0]) < _SHORTEST_LINE_BYTES:
        return False
    # Hexadecimal numbers and long words lack one or another.
    return all(group.search(joined) for group in _MIXED)


# Quoted-printable


def first_odd_pair(buffer: Buffer, start: int, end: int) -> int:
    """Return the offset of the first sign that no encoder would write like this, or -1; copies nothing."""
    match = _ODD_PAIR.search(buffer, start, end)
    return match.start() if match else -1


def quoted_printable_damages(body: bytes) -> list[Damage]:
    """Return what is wrong with a quoted-printable body."""
    at = first_odd_pair(body, 0, len(body))
    if at < 0:
        return []
    following = body[at + 1 : at + 3]
    if following[:1] in {b" ", b"\t"}:
        detail = "blank after a soft break"
    elif len(following) == 2 and all(digit in b"0123456789ABCDEFabcdef" for digit in following):
        detail = "small hexadecimal digits"
    else:
        detail = "no hexadecimal digits"
    return [Damage("damaged-quoted-printable", at, detail)]


def quoted_printable_readings(body: bytes) -> Iterator[Reading]:
    """Yield all readings of a damaged body."""
    decoders: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
        ("quoted-printable-literal-breaks", lambda text: decode_quoted_printable(text, padded_breaks=False)),
        ("quoted-printable-doubled-signs", binascii.a2b_qp),
    )
    for view, decode in decoders:
        yield Reading(view, decode(body))
