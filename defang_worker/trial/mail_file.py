# SPDX-License-Identifier: GPL-3.0-or-later
"""A message as it lies in a file, to the content of SMTP's DATA and back.

Files have LF or CR LF, and a mailbox's `From ` line perhaps; in SMTP all lines end with CR LF. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# The line that divides messages in a mailbox (RFC 4155), also when it was quoted by mistake.
_MAILBOX_LINE: Final = re.compile(rb">?From [^\n]*\n")
_CRLF: Final = b"\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailFile:
    """One message of a file: `content` as SMTP carries it, and the line end that the file has."""

    content: bytes
    newline: bytes

    @classmethod
    def parse(cls, raw: bytes) -> MailFile:
        """The message in the bytes of a file; the first line's end tells the file's."""
        mailbox_line = _MAILBOX_LINE.match(raw)
        raw = raw[mailbox_line.end() :] if mailbox_line else raw
        first_end = raw.find(b"\n")
        newline = _CRLF if first_end > 0 and raw[first_end - 1] == 0x0D else b"\n"
        return cls(content=raw.replace(_CRLF, b"\n").replace(b"\n", _CRLF), newline=newline)

    def in_file(self, content: bytes) -> bytes:
        """Content of SMTP's DATA with the line ends of this file."""
        return content if self.newline == _CRLF else content.replace(_CRLF, b"\n")
