# SPDX-License-Identifier: GPL-3.0-or-later
"""yEnc files in text (yEnc draft 1.3): `=ybegin ... name=NAME`, bytes shifted by 42, `=yend`.

Newsreaders, and mail clients that are newsreaders too, show such a block as an attachment. Each part of a file that
comes in several is a file here.
"""

import re
from collections.abc import Iterator
from typing import Final

from defang_worker.mime.charsets import guess_text
from defang_worker.mime.embedded import EmbeddedFile

_KEYWORD: Final = re.compile(rb"^=y(begin|part|end)(?:[ \t]([^\r\n]*+))?\r*(?:\n|\Z)", re.MULTILINE)
# The name comes last and may hold blanks; quotation marks around it are no part of it.
_NAME: Final = re.compile(rb"(?:^|[ \t])name=([^\r\n]*)", re.IGNORECASE)
_DIGITS: Final = re.compile(rb"(?:^|[ \t])(?:line|size)=[0-9]", re.IGNORECASE)
_SHIFT: Final = 42
_ESCAPED_SHIFT: Final = _SHIFT + 64
_PLAIN: Final = bytes((value - _SHIFT) & 0xFF for value in range(256))
_ESCAPED: Final = bytes((value - _ESCAPED_SHIFT) & 0xFF for value in range(256))


def embedded_files(content: bytes) -> Iterator[EmbeddedFile]:
    """Yield the yEnc files in `content`, which is text after transfer decoding; never raises."""
    if b"=ybegin" not in content:
        return
    begin: re.Match[bytes] | None = None
    data_start = 0
    for keyword in _KEYWORD.finditer(content, content.find(b"=ybegin")):
        word = keyword[1]
        if begin and word != b"part":
            yield _file(content, begin, data_start, keyword.start(), keyword.end() if word == b"end" else 0)
            begin = None
        if word == b"begin":
            begin = keyword if _is_header(keyword[2] or b"") else None
        data_start = keyword.end()
    if begin:
        yield _file(content, begin, data_start, len(content), len(content))


def _is_header(arguments: bytes) -> bool:
    return bool(_DIGITS.search(arguments) or _NAME.search(arguments))


def _file(content: bytes, begin: re.Match[bytes], start: int, data_end: int, end: int) -> EmbeddedFile:
    name = _NAME.search(begin[2] or b"")
    spelled = name[1].strip(b" \t") if name else b""
    names = dict.fromkeys(guess_text(text) for text in (spelled, spelled.strip(b'"')) if text)
    data = decode(content[start:data_end])
    return EmbeddedFile("yenc", tuple(names), data, begin.start(), end or data_end)


def decode(data: bytes) -> bytes:
    """Return the bytes that lines of yEnc stand for."""
    first, *escaped = data.translate(None, b"\r\n").split(b"=")
    pieces = [first.translate(_PLAIN)]
    at = 0
    while at < len(escaped):
        text = escaped[at]
        at += 1
        if text:
            pieces += (text[:1].translate(_ESCAPED), text[1:].translate(_PLAIN))
        elif at < len(escaped):  # an escaped equals sign
            pieces += (b"=".translate(_ESCAPED), escaped[at].translate(_PLAIN))
            at += 1
    return b"".join(pieces)
