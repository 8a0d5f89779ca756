# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfer encodings (RFC 2045 section 6), read as mail clients read them, never failing.

What is damaged is decoded as far as it goes, and rather too much than too little: what only some
clients show must not be hidden from the filter.
"""

import binascii
import re
from typing import Final

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
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64: Final = bytes(set(range(256)) - set(_ALPHABET) - {ord("=")})
_PADDING: Final = re.compile(rb"=+")
_BASE64_LINES: Final = re.compile(rb"[A-Za-z0-9+/=\s]*")
_PADDED_SOFT_BREAK: Final = re.compile(rb"=[ \t]++(?=\r?\n)")
_SOFT_BREAK_AT_CR: Final = re.compile(rb"=\r(?!\n)")
_UU_BEGIN: Final = re.compile(rb"^begin(?:-base64)? [0-7]{3,4} [^\n]*\n", re.MULTILINE)


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
    padding = body.find(b"=")
    if padding < 0 or not body[padding:].strip(b"= \t\r\n"):
        try:
            return binascii.a2b_base64(body)
        except binascii.Error:
            padding = len(body)
    elif not _BASE64_LINES.fullmatch(body, padding):
        rest = body[padding:].lstrip(b"=")
        tail = rest.translate(None, _NOT_BASE64)
        # Stray characters all over are damage; a tail that is mostly text is a footer.
        if len(tail) < len(rest) // 2 or b" " in rest.strip():
            body = body[:padding]
    runs = _PADDING.split(body.translate(None, _NOT_BASE64))
    return b"".join(map(_decode_run, runs))


def _decode_run(run: bytes) -> bytes:
    if len(run) % 4 == 1:  # six bits are no byte
        run = run[:-1]
    return binascii.a2b_base64(run + b"=" * (-len(run) % 4))


def decode_quoted_printable(body: bytes) -> bytes:
    """Return the decoded bytes; wrong pairs stay as they are, soft breaks may have blanks after them."""
    if b"= " in body or b"=\t" in body:
        body = _PADDED_SOFT_BREAK.sub(b"=", body)
    if b"=\r" in body:  # a2b_qp would skip all that follows a lone CR up to the line end
        body = _SOFT_BREAK_AT_CR.sub(b"=3D\r", body)
    return binascii.a2b_qp(body)


def decode_uuencode(body: bytes) -> bytes:
    """Return the decoded file; without a `begin` line the body as it is."""
    begin = _UU_BEGIN.search(body)
    if begin is None:
        return body
    pieces: list[bytes] = []
    for line in body[begin.end() :].split(b"\n"):
        stripped = line.rstrip(b"\r")
        if stripped == b"end" or not stripped or stripped in {b"`", b" "}:
            break
        length = (stripped[0] - 32) & 63
        needed = 1 + (length + 2) // 3 * 4
        try:
            pieces.append(binascii.a2b_uu(stripped[:needed]))
        except binascii.Error:
            break
    return b"".join(pieces)
