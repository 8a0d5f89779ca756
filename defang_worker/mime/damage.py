# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged base64 and quoted-printable: what is wrong, and how else mail clients read it.

`decode.py` has the reading that is shown first. Here are the others, for `views.py`, which asks for them only if a
body is not as regular as `irregularities` and `first_odd_pair` would have it. All of it is linear in the size of
the body, and any bytes will do.
"""

import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

import pybase64

from defang_worker.mime.base64_faults import (
    BLANKS,
    LONGEST_LINE_BYTES,
    SHORTEST_LINE_BYTES,
    Damage,
    base64_faults,
)
from defang_worker.mime.decode import (
    NOT_BASE64,
    base64_without_footer,
    decode_base64,
    decode_quoted_printable,
    decode_run,
    decode_runs,
)
from defang_worker.mime.headers import Buffer

# What is checked at once: small enough for the processor's cache, and for the C library to keep the memory.
_PIECE_BYTES: Final = 120 * 1024
# Less could be a word, a key, or a number in hexadecimal.
_SHORTEST_UNDECLARED_BYTES: Final = 32
_QUARTETS: Final = re.compile(rb"[A-Za-z0-9+/]++={0,2}")
_CARRIAGE_RETURN: Final = 0x0D
_FEW_LINES_BYTES: Final = 4 * 1024
_URL_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")
# Whatever follows the sign but two capital digits, a line end, or nothing at all.
_ODD_PAIR: Final = re.compile(rb"=(?![0-9A-F]{2}|\r?\n|\Z)")
_MIXED: Final = tuple(re.compile(group) for group in (rb"[A-Z]", rb"[a-z]", rb"[0-9+/=]"))


class Taker(Protocol):
    """Whoever looks at the content of regular lines while they are checked."""

    def wants(self, left_bytes: int, /) -> bool:
        """Tell whether to decode the next piece, when so much of the encoded body is left, the piece included."""
        ...

    def take(self, piece: bytes, /) -> None:
        """Look at a piece's content; the pieces wanted come in their order."""
        ...


class Reading(NamedTuple):
    """The body as some clients decode it."""

    view: str
    """ "base64-text" is what stands around the data, undecoded; all others are decoded contents."""
    content: bytes


def damages(body: bytes, encoding: str) -> list[Damage]:
    """Return what is wrong with `body`, each defect once, where it is seen first."""
    match encoding:
        case "base64":
            return base64_faults(body)
        case "quoted-printable":
            return quoted_printable_damages(body)
        case _:
            return []


def other_readings(body: bytes, encoding: str, usual: bytes, faults: list[Damage]) -> list[Reading]:
    """Return the contents that some clients see instead of `usual`, which is `decode_body`'s; each content once.

    `faults` are the body's damages, as `damages` or `irregularities` have them.
    """
    match encoding:
        case "base64":
            candidates = base64_readings(body, faults)
        case "quoted-printable":
            candidates = quoted_printable_readings(body)
        case _:
            return []
    known = {b"", usual}
    readings: list[Reading] = []
    for reading in candidates:
        if reading.content not in known:
            known.add(reading.content)
            readings.append(reading)
    return readings


# What is wrong with base64


def regular_lines(buffer: Buffer, start: int, end: int, taker: Taker | None) -> int:
    """Return how far a body is base64 in lines of one length, if it is more than a few; `taker` gets what it wants.

    These lines have the alphabet in them and nothing else, all have the line end of the first, and what follows is two
    lines if all is well. The cost is that of decoding, a third of it where nobody wants the content, and hardly any
    memory.
    """
    line_end = buffer.find(b"\n", start, end)
    if line_end < 0 or line_end - start > LONGEST_LINE_BYTES or end - start <= _FEW_LINES_BYTES:
        return start
    end_bytes = 2 if buffer[line_end - 1 : line_end] == b"\r" else 1
    line_bytes = line_end + 1 - start
    characters = line_bytes - end_bytes
    if characters < SHORTEST_LINE_BYTES or characters % 4:
        return start
    at = start
    most = _PIECE_BYTES // line_bytes
    with memoryview(buffer) as view:
        # The last lines may be shorter and padded.
        while at + 2 * line_bytes < end:
            count = min(most, (end - at) // line_bytes - 1)
            # The one copy that is made of them, for what follows changes them.
            lines = bytearray(view[at : at + count * line_bytes])
            if lines[line_bytes - 1 :: line_bytes] != b"\n" * count:
                break
            if end_bytes == 2 and lines[characters::line_bytes] != b"\r" * count:
                break
            if taker is not None and taker.wants(end - at):
                decoded = _decoded_or_nothing(lines, line_bytes, end_bytes)
                if len(decoded) * 4 != characters * count * 3:
                    break
                taker.take(decoded)
            elif not _is_alphabet(lines, line_bytes, end_bytes):
                break
            at += count * line_bytes
    return at


# The decoder is several times faster where no line end interrupts it. To overwrite these takes less time than to take
# them out, where nobody wants to have what comes out.


def _is_alphabet(lines: bytearray, line_bytes: int, end_bytes: int) -> bool:
    """Tell whether lines of quartets have nothing but the alphabet in them, padding excluded too; they are lost."""
    count = len(lines) // line_bytes
    for back in range(end_bytes):
        lines[line_bytes - 1 - back :: line_bytes] = b"A" * count
    # Each line end adds one or two characters, so that the last quartet may be incomplete.
    lines += b"AAA"[: -len(lines) % 4]
    try:
        pybase64.b64decode_as_bytearray(lines, validate=True)
    except binascii.Error:
        return False
    return True


def _decoded_or_nothing(lines: bytearray, line_bytes: int, end_bytes: int) -> bytes:
    """Return the content of lines of quartets, b"" if they have anything else in them; they are lost."""
    for _ in range(end_bytes):
        del lines[line_bytes - 1 :: line_bytes]
        line_bytes -= 1
    try:
        return pybase64.b64decode(lines, validate=True)
    except binascii.Error:
        return b""


def irregularities(buffer: Buffer, start: int, end: int, lines_end: int | None = None) -> list[Damage]:
    """Return what `base64_faults` does, at little more than the cost of decoding; `lines_end` is of `regular_lines`."""
    if lines_end is None:
        lines_end = regular_lines(buffer, start, end, None)
    # One line more, so that a blank one after it is seen to be inside. Whole lines of quartets before what is damaged
    # change nothing but the places.
    before = max(buffer.rfind(b"\n", start, lines_end - 1) + 1, start) if lines_end > start else start
    faults = _faults(buffer[before:end])
    return [fault._replace(offset=before - start + fault.offset) for fault in faults]


def _faults(body: bytes) -> list[Damage]:
    """Return what `base64_faults` does; of a few lines it is seen in no time that they have none."""
    return [] if content_of_few_lines(body, 0, len(body)) is not None else base64_faults(body)


def content_of_few_lines(buffer: Buffer, start: int, end: int) -> bytes | None:
    """Return the content of a body of a few lines of base64 that has no faults; None if it may have, or has more."""
    if end - start > _FEW_LINES_BYTES:
        return None
    body = buffer[start:end]
    if _CARRIAGE_RETURN in body:
        # One that ends no line is left, and keeps the body from being decoded.
        body = body.replace(b"\r\n", b"\n")
    first, *others = body.rstrip(b"\n").split(b"\n")
    if others and not (SHORTEST_LINE_BYTES <= len(first) <= LONGEST_LINE_BYTES and all(others)):
        return None
    if len(body) > LONGEST_LINE_BYTES and max(map(len, (first, *others))) > LONGEST_LINE_BYTES:
        return None
    try:
        return pybase64.b64decode(b"".join((first, *others)), validate=True)
    except binascii.Error:
        return None


# How else it can be read


def base64_readings(body: bytes, faults: list[Damage]) -> Iterator[Reading]:
    """Yield all readings of a damaged body but the usual one; some may be equal, to that one too."""
    characters = body.translate(None, NOT_BASE64)
    if base64_without_footer(body) is not body:
        yield Reading("base64-joined", decode_runs(characters))
    yield Reading("base64-to-padding", base64_to_padding(characters))
    yield Reading("base64-quartets", base64_to_whole_padding(characters))
    yield Reading("base64-no-padding", decode_run(characters.replace(b"=", b"")))
    if b"-" in body or b"_" in body:
        yield Reading("base64-url", decode_base64(body.translate(_URL_ALPHABET)))
    if any(fault.name == "base64-trailing-data" for fault in faults):
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
        line = raw.strip(BLANKS)
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
    if len(lines) > 1 and len(lines[0]) < SHORTEST_LINE_BYTES:
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
