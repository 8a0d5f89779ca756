# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts to what libmilter wants: a return code, and the words of an SMTP reply.

Pure, and the only module that knows which of libmilter's numbers is which verdict.
"""

from dataclasses import dataclass
from typing import Final, assert_never

import milter

from defang_common.wire import answers
from defang_common.wire.answers import Answer, Verdict
from defang_common.wire.results import Bounce, Discard, Tempfail

# libmilter refuses longer lines (MAXREPLYLEN), counted behind the doubling of `%`, and then answers without any text.
MAX_LINE_BYTES: Final = 980
# One less than pymilter passes on.
MAX_LINES: Final = 31

_BLANKED: Final = bytes(byte if byte == 0x0A or 0x20 <= byte < 0x7F else 0x20 for byte in range(256))

_STATUS: Final = {
    Verdict.CONTINUE: milter.CONTINUE,
    Verdict.REJECT: milter.REJECT,
    Verdict.TEMPFAIL: milter.TEMPFAIL,
    Verdict.ACCEPT: milter.ACCEPT,
    Verdict.DISCARD: milter.DISCARD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to return from a callback. With `lines` the SMTP reply is to be set before, else the MTA chooses it."""

    status: int
    code: str = ""
    dsn: str = ""
    lines: tuple[str, ...] = ()


CONTINUE: Final = Reply(status=milter.CONTINUE)
TEMPFAIL: Final = Reply(status=milter.TEMPFAIL)


def _cut(line: bytes) -> list[bytes]:
    """The line in pieces that libmilter takes; no doubled `%` is torn apart."""
    pieces = []
    while len(line) > MAX_LINE_BYTES:
        end = MAX_LINE_BYTES
        run = len(line[:end]) - len(line[:end].rstrip(b"%"))
        end -= run % 2
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]


def lines_of(text: bytes) -> tuple[str, ...]:
    """A reply's text as lines for libmilter: printable ASCII, at most 31 lines, `%` doubled, long lines cut."""
    raw = text.translate(_BLANKED).removesuffix(b"\n").split(b"\n", MAX_LINES - 1)
    pieces = [piece for line in raw for piece in _cut(line.replace(b"\n", b" ").replace(b"%", b"%%"))]
    return tuple(piece.decode("ascii") for piece in pieces[:MAX_LINES])


def _refusal(status: int, code: bytes, dsn: bytes, text: bytes) -> Reply:
    return Reply(status=status, code=code.decode("ascii"), dsn=dsn.decode("ascii"), lines=lines_of(text))


def of_answer(answer: Answer) -> Reply:
    """The reply for a check's answer at HELO, MAIL or RCPT."""
    status = _STATUS[answer.verdict]
    if answer.text is None or answer.verdict not in (Verdict.REJECT, Verdict.TEMPFAIL):
        return Reply(status=status)
    return _refusal(status, answer.code, answer.dsn, answer.text)


def of_answer_at_connect(answer: Answer) -> Reply:
    """The reply for a check's answer at connect, where MTAs have their own words."""
    return Reply(status=_STATUS[answer.verdict])


def of_verdict(verdict: Bounce | Tempfail | Discard) -> Reply:
    """The reply for what RESULTS decided."""
    match verdict:
        case Discard():
            return Reply(status=milter.DISCARD)
        case Bounce():
            kind, usual = Verdict.REJECT, answers.REJECT_TEXT
        case Tempfail():
            kind, usual = Verdict.TEMPFAIL, answers.TEMPFAIL_TEXT
        case _:
            assert_never(verdict)
    code, dsn = answers.fit(kind, verdict.code, verdict.dsn)
    return _refusal(_STATUS[kind], code, dsn, verdict.text or usual)


def of_fault(text: str) -> Reply:
    """A temporary failure of our own making; `text` is for the SMTP client."""
    return _refusal(milter.TEMPFAIL, b"451", b"4.3.0", text.encode())
