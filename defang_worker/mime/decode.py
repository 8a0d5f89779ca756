# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfer encodings (RFC 2045 section 6), read as mail clients read them, never failing.

What is damaged is decoded as far as it goes, and rather too much than too little: what only some clients show
must not be hidden from the filter. What is wrong with a damaged body, and how else it can be read, is the affair of
`damage.py`.
"""

import binascii
import re
from itertools import compress
from typing import Final

import pybase64

from defang_worker.mime.headers import strip_comments

_NOT_IN_NAMES: Final = re.compile(rb"[^a-z0-9]+")
_KNOWN: Final = {
    b"": "7bit",
    b"7bit": "7bit",
    b"8bit": "8bit",
    b"binary": "binary",
    b"base64": "base64",
    b"quotedprintable": "quoted-printable",
    b"uuencode": "uuencode",
    b"xuuencode": "uuencode",
    b"uue": "uuencode",
    b"xuue": "uuencode",
}
ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
"""Of base64, without the padding."""
NOT_BASE64: Final = bytes(set(range(256)) - set(ALPHABET) - {ord("=")})
# Runs shorter than this on average are decoded all at once, which costs more a byte and less a run.
_SHORT_RUN_CHARACTERS: Final = 32
# By the length of a run modulo four, what makes quartets of it; a lone last character has too few bits for a byte.
_FILL: Final = (b"", b"===", b"==", b"=")
_IS_DATA: Final = bytes(byte != ord("=") for byte in range(256))
_BASE64_LINES: Final = re.compile(rb"[A-Za-z0-9+/=\s]*+")
_PADDED_SOFT_BREAK: Final = re.compile(rb"=[ \t]++(?=\r?\n|\Z)")
_SOFT_BREAK_AT_CR: Final = re.compile(rb"=\r(?!\n)")
_DOUBLED_SIGN: Final = re.compile(rb"=(?==)")


def encoding_name(value: bytes | None) -> str:
    """Return the encoding that a Content-Transfer-Encoding value means, in its usual spelling.

    Quotes, semicolons, comments and blanks are overlooked. An unknown one comes back in small letters.
    """
    if value is None:
        return "7bit"
    if b"(" in value:
        value = strip_comments(value)
    lowered = value.lower()
    return _KNOWN.get(_NOT_IN_NAMES.sub(b"", lowered)) or lowered.decode("latin-1")


def decode_body(body: bytes, encoding: str) -> bytes:
    """Return `body` decoded from `encoding` (see `encoding_name`); an unknown one leaves it as it is."""
    match encoding:
        case "base64":
            return decode_base64(body)
        case "quoted-printable":
            return decode_quoted_printable(body)
        case "uuencode":
            return decode_uuencode(body)
        case _:
            return body


def decode_base64(body: bytes) -> bytes:
    """Return the decoded bytes; strange characters are left out, an inner padding does not end the data.

    Text after the padding that is not itself base64 (the footer of a mailing list) is left out, too.
    """
    # pybase64 leaves out what is not in the alphabet, and also a padding before the end, which would shift the rest.
    padding = body.find(b"=")
    if padding < 0 or not body[padding:].strip(b"= \t\r\n"):
        try:
            return pybase64.b64decode(body)
        except binascii.Error:
            pass
    return decode_runs(base64_without_footer(body).translate(None, NOT_BASE64))


def base64_without_footer(body: bytes) -> bytes:
    """Return `body` itself, or what is before the padding if that is followed by text that is not base64."""
    padding = body.find(b"=")
    if padding < 0 or _BASE64_LINES.fullmatch(body, padding):
        return body
    rest = body[padding:].lstrip(b"=")
    tail = rest.translate(None, NOT_BASE64)
    # Stray characters all over are damage; a tail that is mostly text is a footer.
    is_footer = len(tail) < len(rest) // 2 or b" " in rest.strip()
    return body[:padding] if is_footer else body


def decode_runs(characters: bytes) -> bytes:
    """Return what lies between paddings, each run decoded for itself, joined; all must be of the alphabet."""
    while b"==" in characters:
        characters = characters.replace(b"==", b"=")
    runs = characters.split(b"=")
    if len(characters) > _SHORT_RUN_CHARACTERS * len(runs):
        return b"".join(map(decode_run, runs))
    # Each run is filled up to quartets; the bytes that the fill stands for are taken out of the whole.
    quartets = b"".join([run + _FILL[len(run) & 3] for run in runs])
    decoded = pybase64.b64decode(quartets.replace(b"=", b"A"))
    is_data = bytearray(len(decoded))
    for place in range(3):
        is_data[place::3] = quartets[place + 1 :: 4]
    return bytes(compress(decoded, is_data.translate(_IS_DATA)))


def decode_run(run: bytes) -> bytes:
    """Return one run of base64 characters decoded, whatever its length."""
    if len(run) % 4 == 1:  # six bits are no byte
        run = run[:-1]
    return pybase64.b64decode(run + b"=" * (-len(run) % 4))


def decode_quoted_printable(body: bytes, *, padded_breaks: bool = True) -> bytes:
    """Return the decoded bytes; wrong pairs stay as they are.

    Soft breaks may have blanks after them; without `padded_breaks` such a one is text, as some clients have it.
    """
    # What follows prepares for a2b_qp, which has readings of its own.
    if b"= " in body or b"=\t" in body:
        body = _PADDED_SOFT_BREAK.sub(b"=" if padded_breaks else _as_text, body)
    if b"=\r" in body:  # it would skip all that follows a lone CR up to the line end
        body = _SOFT_BREAK_AT_CR.sub(b"=3D\r", body)
    if b"==" in body:  # it would take both signs for one, and so miss the pair that begins with the second
        body = _DOUBLED_SIGN.sub(b"=3D", body)
    return binascii.a2b_qp(body)


def _as_text(match: re.Match[bytes]) -> bytes:
    return b"=3D" + match[0][1:]


def decode_uuencode(body: bytes) -> bytes:
    """Return the decoded files, one after the other; without a `begin` line the body as it is."""
    from defang_worker.mime import uuencode  # noqa: PLC0415  # rare, and no worker need load it at its start

    files = list(uuencode.embedded_files(body))
    return b"".join(file.content for file in files) if files else body
