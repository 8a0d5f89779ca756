# SPDX-License-Identifier: GPL-3.0-or-later
"""`SignedText`: a message as signatures see it, header fields and body with CRLF line ends. Pure.

Made once a message, and shared by all of its signatures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from defang_worker.mime.headers import Buffer

__all__ = ["SignedText"]

_HEADER_END: Final = re.compile(rb"^\r?\n", re.MULTILINE)
_FIELD: Final = re.compile(rb"^([!-9;-~]+)[ \t]*:(.*\n(?:[ \t].*(?:\n|\Z))*)", re.MULTILINE)
_LINE_END: Final = re.compile(rb"\r?\n")


@dataclass(frozen=True, slots=True)
class SignedText:
    """Header fields, name and value with all blanks and the last CRLF, and the body."""

    fields: list[tuple[bytes, bytes]]
    body: bytes

    @classmethod
    def of(cls, raw: Buffer) -> SignedText:
        """Of a message with LF or CRLF line ends; a line in the header that is no field is left out."""
        end = _HEADER_END.search(raw)
        header = raw[: end.start()] if end else raw[:] + b"\n"
        body = raw[end.end() :] if end else b""
        fields = [(field[1], _crlf(field[2])) for field in _FIELD.finditer(header)]
        return cls(fields, _crlf(body))

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of that name (in small letters), from the top."""
        return [value for known, value in self.fields if known.lower() == name]


def _crlf(lines: bytes) -> bytes:
    if b"\r\n" in lines:
        return _LINE_END.sub(b"\r\n", lines)
    return lines.replace(b"\n", b"\r\n")
