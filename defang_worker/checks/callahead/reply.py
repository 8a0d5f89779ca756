# SPDX-License-Identifier: GPL-3.0-or-later
"""`Reply`: what an SMTP server answers to a command (RFC 5321, section 4.2), out of its lines. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from defang_worker.checks.faults import ServiceFault

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CLOSING", "MAX_LINES", "Reply", "read"]

CLOSING: Final = 421
"""The code of a server that goes away, whatever it was asked."""
MAX_LINES: Final = 100
"""More lines than the longest list of extensions has."""
# A client gets the text, in one line of the wire with others: enough for a sentence and an address of a web page.
_MAX_TEXT_CHARS: Final = 1000
_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_DSN: Final = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?= |$)")
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. The lines are of printable ASCII: a client may be told them."""

    code: int
    lines: tuple[str, ...] = ("",)

    @property
    def kind(self) -> int:
        """The first digit of the code: 2 for yes, 4 for not now, 5 for no."""
        return self.code // 100

    @property
    def dsn(self) -> str:
        """The enhanced status code (RFC 2034); empty if there is none, or one of another kind than the code."""
        match = _DSN.match(self.lines[0])
        return match[0] if match and int(match[1]) == self.kind else ""

    @property
    def text(self) -> str:
        """The text for people, without codes, lines divided by line feeds."""
        return "\n".join(_DSN.sub("", line, count=1).strip() for line in self.lines)[:_MAX_TEXT_CHARS].rstrip()

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}".rstrip()[:_MAX_TEXT_CHARS]


def read(next_line: Callable[[], bytes]) -> Reply:
    """The reply whose lines, without their ends, come one by one; raises ServiceFault if they are none."""
    code = 0
    lines: list[str] = []
    while len(lines) < MAX_LINES:
        line = next_line().removesuffix(b"\r")
        match = _LINE.fullmatch(line)
        if match is None or (code and int(match[1]) != code):
            raise ServiceFault(f"no SMTP reply: {line[:60]!r}")
        code = int(match[1])
        lines.append(_NOT_PRINTABLE.sub("?", (match[3] or b"").decode("utf-8", "replace")))
        if match[2] != b"-":
            return Reply(code, tuple(lines))
    raise ServiceFault(f"replied with more than {MAX_LINES} lines")
