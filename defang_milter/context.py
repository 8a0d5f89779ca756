# SPDX-License-Identifier: GPL-3.0-or-later
"""What we call on a milter context, and text as its setters take it.

pymilter's setters take text and encode it as UTF-8, while a filter's values are bytes. This
is the one place where the change happens.
"""

import binascii
import re
from typing import Any, Final, Protocol

# RFC 2047, section 2: an encoded word has at most 75 characters, of which `=?unknown-8bit?B??=` takes 19.
_MAX_WORD_BYTES: Final = (75 - 19) // 4 * 3
_EIGHT_BIT_WORDS: Final = re.compile(rb"[^\s]*[\x80-\xff][^\s]*(?:\s+[^\s]*[\x80-\xff][^\s]*)*")


class Context(Protocol):
    """The context of one milter connection, as pymilter has it."""

    def getsymval(self, name: str, /) -> str | None: ...  # noqa: D102  # smfi_getsymval and so on: libmilter's manual
    def setreply(self, code: str, dsn: str | None, /, *lines: str) -> None: ...  # noqa: D102
    def addheader(self, name: str, value: str, index: int = ..., /) -> None: ...  # noqa: D102
    def chgheader(self, name: str, index: int, value: str | None, /) -> None: ...  # noqa: D102
    def addrcpt(self, recipient: str, parameters: str | None = ..., /) -> None: ...  # noqa: D102
    def delrcpt(self, recipient: str, /) -> None: ...  # noqa: D102
    def chgfrom(self, sender: str, parameters: str | None = ..., /) -> None: ...  # noqa: D102
    def replacebody(self, chunk: bytes | str, /) -> None: ...  # noqa: D102
    def quarantine(self, reason: str, /) -> None: ...  # noqa: D102
    def progress(self) -> None: ...  # noqa: D102
    def setsymlist(self, stage: int, macros: str, /) -> None: ...  # noqa: D102
    def getpriv(self) -> Any: ...  # noqa: D102
    def setpriv(self, value: object, /) -> Any: ...  # noqa: D102


def plain_text(value: bytes) -> str:
    """A name or an address; raises UnicodeDecodeError if pymilter has no way to say it."""
    return value.partition(b"\0")[0].decode()


def _encoded_words(match: re.Match[bytes]) -> bytes:
    raw = match[0]
    words = [raw[at : at + _MAX_WORD_BYTES] for at in range(0, len(raw), _MAX_WORD_BYTES)]
    return b"\n ".join(b"=?unknown-8bit?B?%b?=" % binascii.b2a_base64(word, newline=False) for word in words)


def header_text(value: bytes) -> str:
    """A header field's value; what is not UTF-8 becomes encoded words of an unknown 8-bit charset (RFC 1428)."""
    value = value.partition(b"\0")[0]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _EIGHT_BIT_WORDS.sub(_encoded_words, value).decode("ascii")


def remark_text(value: bytes) -> str:
    """Text for people, with a mark for each byte that is not UTF-8."""
    return value.partition(b"\0")[0].decode(errors="replace")
