# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of the wire to the text that a filter sees, and back.

The only place of the filter API where one becomes the other. Bytes that are no UTF-8 survive the round trip (PEP 383),
so a filter may copy an 8-bit header without harming it.
"""

import re
from binascii import b2a_base64
from typing import Final

# 45 bytes are 60 characters of base64, and with the 12 around them within the 75 of RFC 2047 section 2.
_WORD_BYTES: Final = 45
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
# Words that hold non-ASCII characters, with the blanks between two of them: readers join adjacent encoded words.
# Not by \s: no-break spaces and their like are no blanks of a header, and are to be encoded. Only from the beginning of
# a word: the search would else begin anew at each of its characters.
_ENCODE: Final = re.compile(r"(?<![^ \t\n])[^ \t\n]*[^\x00-\x7f][^ \t\n]*(?:[ \t]+[^ \t\n]*[^\x00-\x7f][^ \t\n]*)*")
# RFC 5322 section 2.2: a field name is of printable characters but the colon.
_NAME: Final = re.compile(r"[!-9;-~]+")
# Halves of a character that stand for no byte: JSON can have them, so a scanner's answer may.
_HALF: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_NOT_FOLDING: Final = re.compile(r"\n(?![ \t])|\0")


def to_text(raw: bytes) -> str:
    """The text of bytes as they came from the MTA."""
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes of text as `to_text` made it, or of any other text as UTF-8; U+FFFD for what that cannot say."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _HALF.sub("\N{REPLACEMENT CHARACTER}", text).encode("utf-8", "surrogateescape")


def _encoded_words(match: re.Match[str]) -> str:
    """RFC 2047 words for the text found; what is no text but escaped bytes stays as it is."""
    text = match[0]
    if any("\ud800" <= char <= "\udfff" for char in text):
        return text
    pieces, piece = [], b""
    for char in text:
        raw = char.encode()
        if len(piece) + len(raw) > _WORD_BYTES:
            pieces.append(piece)
            piece = b""
        piece += raw
    pieces.append(piece)
    return "\n ".join(f"=?utf-8?b?{b2a_base64(raw, newline=False).decode()}?=" for raw in pieces)


def header_name(name: str) -> bytes:
    """The name as bytes; raises ValueError if no header field can have it."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"no header field can be named {name!r}")
    return name.encode("ascii")


def header_value(value: str) -> bytes:
    """The value as bytes: carriage returns dropped, other than ASCII as encoded words (RFC 2047).

    Raises ValueError for a line feed that does not fold the field, for it would start another one.
    """
    if not isinstance(value, str):
        raise TypeError(f"a header value is text, not {type(value).__name__}")
    value = value.replace("\r", "")
    if _NOT_FOLDING.search(value):
        raise ValueError(f"a header value has no NUL, and after a line feed a blank: {value[:100]!r}")
    if _NOT_ASCII.search(value):
        value = _ENCODE.sub(_encoded_words, value)
    return to_bytes(value)


def unfolded(value: bytes) -> str:
    """A field's value as one line of text, without blanks around it."""
    return to_text(value.replace(b"\r", b"").replace(b"\n", b"")).strip(" \t")


def address_bytes(address: str) -> bytes:
    """An envelope address for RESULTS; raises ValueError for one that no MTA could take."""
    raw = to_bytes(address)
    if not raw or any(byte < 0x20 or byte == 0x7F for byte in raw):
        raise ValueError(f"no envelope address: {address!r}")
    return raw


__all__ = ["address_bytes", "header_name", "header_value", "to_bytes", "to_text", "unfolded"]
