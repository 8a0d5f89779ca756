# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes in a declared character set to text, whatever the declaration is worth.

Never fails: an unknown or wrong charset falls back to UTF-8, then windows-1252, then latin-1.
"""

import re
from typing import Final

_CHARSET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,39}")
# Codecs of Python that no mail means: they are quadratic (idna, punycode), or turn text into other text.
_NOT_FOR_MAIL: Final = frozenset({"idna", "punycode", "unicodeescape", "rawunicodeescape", "undefined", "mbcs", "oem"})
_COMMON: Final = frozenset({"utf-8", "us-ascii", "iso-8859-1", "windows-1252"})
_SEPARATORS: Final = str.maketrans("", "", "-_ .")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def decode_text(data: bytes, charset: str) -> str:
    """Return `data` as text: in `charset` if that is known and fits, else by the best guess."""
    if charset and data.isascii() and charset.lower() in {"us-ascii", "ascii", "utf-8"}:
        return data.decode("ascii")
    if _CHARSET_NAME.fullmatch(charset) and charset.lower().translate(_SEPARATORS) not in _NOT_FOR_MAIL:
        try:
            text = data.decode(charset)
        except (LookupError, ValueError):
            pass
        else:
            # UTF-7 can say half of a character, which nothing that is written could hold.
            return text if charset.lower() in _COMMON else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    return guess_text(data)


def is_plain_charset(charset: str) -> bool:
    """Tell whether `decode_text` goes by this charset, and ASCII looks like ASCII in it, as mail wants it."""
    if charset.lower() in _COMMON:
        return True
    if not _CHARSET_NAME.fullmatch(charset) or charset.lower().translate(_SEPARATORS) in _NOT_FOR_MAIL:
        return False
    try:
        return "a.~{+-".encode(charset) == b"a.~{+-"
    except (LookupError, ValueError):
        return False


def guess_text(data: bytes) -> str:
    """Return `data` as text, taken for UTF-8 if it is that, else for windows-1252."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:  # 0x81 and four others are unassigned there
        return data.decode("latin-1")
