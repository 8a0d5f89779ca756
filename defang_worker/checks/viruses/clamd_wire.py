# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol of clamd, pure: what is sent, and what the replies mean (clamd(8), COMMANDS).

Commands begin with `z`, so that they and their replies end with a NUL. Within a session every reply begins with the
number of its command, and replies come in any order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from defang_worker.checks.faults import ServiceFault

__all__ = ["END", "FILDES", "MAX_REPLY_BYTES", "SESSION", "STREAM_END", "VERSION", "Reply", "decode", "stream_head"]

SESSION: Final = b"zIDSESSION\0"
END: Final = b"zEND\0"
VERSION: Final = b"zVERSION\0"
FILDES: Final = b"zFILDES\0 "
"""With the blank, by which the descriptor travels: a message of ancillary data has at least one byte."""
STREAM_END: Final = b"\0\0\0\0"
MAX_REPLY_BYTES: Final = 16 * 1024
"""More than any path and name together, which is all that a reply has."""

_NO_DESCRIPTOR: Final = "No file descriptor received."
_STREAM_LIMIT: Final = "INSTREAM size limit exceeded."
_LIMIT_NAMES: Final = "Heuristics.Limits.Exceeded"
_REPLY: Final = re.compile(r"(\d{1,9}): (?:(?:stream|fd\[\d+\]): )?(?:(OK)|(.+) (FOUND|ERROR))", re.DOTALL)
# With ExtendedDetectionInfo, MD5 and size stand behind the name.
_EXTENDED: Final = re.compile(r"\([0-9a-f]{32}:\d+\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What clamd says of one command of a session."""

    number: int
    """The command's, from 1."""
    virus: str = ""
    """The name of what it found."""
    error: str = ""
    """Why it cannot tell."""

    @property
    def lacks_descriptor(self) -> bool:
        """Whether it did not get the file, as where a security module (AppArmor) does not let it have that."""
        return self.error == _NO_DESCRIPTOR

    @property
    def ends_session(self) -> bool:
        """Whether clamd closes the connection behind it, which it does in the midst of what is too large."""
        return self.error == _STREAM_LIMIT


def stream_head(size: int) -> bytes:
    """What comes before so many bytes that are sent in one piece; `STREAM_END` comes behind them."""
    return b"zINSTREAM\0" + size.to_bytes(4)


def decode(raw: bytes) -> Reply:
    """The reply without its NUL; raises ServiceFault for what is none."""
    match = _REPLY.fullmatch(raw.decode("utf-8", "backslashreplace"))
    if match is None:
        raise ServiceFault(f"answered with what is no reply: {raw[:100]!r}")
    number, is_clean, text, kind = match.groups()
    if is_clean:
        return Reply(number=int(number))
    if kind == "ERROR":
        return Reply(number=int(number), error=text)
    if text.startswith(_LIMIT_NAMES):
        # It stopped looking: that is no virus, and no sign that there is none.
        return Reply(number=int(number), error=f"over a limit of clamd: {text}")
    return Reply(number=int(number), virus=_EXTENDED.sub("", text))
