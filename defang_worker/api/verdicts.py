# SPDX-License-Identifier: GPL-3.0-or-later
"""What a callback decides: `Response`, a value with named constructors.

Code and DSN are those of the verdict's class where the filter gives none. How a response travels is the wire's affair
(`to_answer` for checks, `to_result` for a whole message).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defang_common.wire import answers, results
from defang_common.wire.answers import Verdict
from defang_worker.api.words import to_bytes

if TYPE_CHECKING:
    from defang_common.wire.answers import Answer
    from defang_common.wire.results import Bounce, Discard, Tempfail

__all__ = ["CheckFailed", "Response", "Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A decision with its SMTP reply; made by `ok`, `accept_all`, `reject`, `tempfail`, `greylist` and `discard`.

    `reply` is the text that the client sees, several lines divided by line feeds; empty means a usual text. `code` and
    `dsn` (None: the usual ones) have to be of the verdict's class: 5 for a reject, 4 for a temporary failure; what does
    not fit is replaced and logged. `delay_s` is how long the MTA is kept waiting for the answer.
    """

    verdict: Verdict
    """What it decides."""
    reply: str = ""
    """What the client reads; line feeds divide lines, and empty stands for a usual text."""
    code: int | None = None
    """The SMTP code: of a reject it begins with 5, of a tempfail with 4, or the usual one takes its place."""
    dsn: str | None = None
    """The enhanced status code; as `code`."""
    delay_s: int = 0
    """How many seconds the client is kept waiting, up to 300; none in `filter_relay` and from `filter_begin` on."""

    def __post_init__(self) -> None:
        # Here, where the traceback still shows the filter's line.
        for name, kind in (("reply", str), ("code", int | None), ("dsn", str | None), ("delay_s", int)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise TypeError(f"{name} of a response cannot be {value!r:.100}")

    @classmethod
    def ok(cls, *, delay_s: int = 0) -> Response:
        """Go on."""
        return cls(verdict=Verdict.CONTINUE, delay_s=delay_s)

    @classmethod
    def accept_all(cls, *, delay_s: int = 0) -> Response:
        """Deliver without any more filtering: the whole message, even if said for one recipient."""
        return cls(verdict=Verdict.ACCEPT, delay_s=delay_s)

    @classmethod
    def reject(cls, reply: str = "", *, code: int = 554, dsn: str = "5.7.1", delay_s: int = 0) -> Response:
        """Refuse for good. At connect the MTA chooses the reply itself."""
        return cls(verdict=Verdict.REJECT, reply=reply, code=code, dsn=dsn, delay_s=delay_s)

    @classmethod
    def tempfail(cls, reply: str = "", *, code: int = 451, dsn: str = "4.3.0", delay_s: int = 0) -> Response:
        """Refuse for now: the client keeps the message and tries again."""
        return cls(verdict=Verdict.TEMPFAIL, reply=reply, code=code, dsn=dsn, delay_s=delay_s)

    @classmethod
    def greylist(cls, reply: str = "Greylisted, please try again later", *, delay_s: int = 0) -> Response:
        """Refuse for now a client that is not known yet: 451 4.7.1, as RFC 6647 has it."""
        return cls(verdict=Verdict.TEMPFAIL, reply=reply, code=451, dsn="4.7.1", delay_s=delay_s)

    @classmethod
    def discard(cls, *, delay_s: int = 0) -> Response:
        """Accept towards the client and deliver to nobody: the whole message, even if said for one recipient."""
        return cls(verdict=Verdict.DISCARD, delay_s=delay_s)

    @property
    def is_final(self) -> bool:
        """Whether this ends the message: reject, tempfail or discard."""
        return self.verdict in (Verdict.REJECT, Verdict.TEMPFAIL, Verdict.DISCARD)

    def to_answer(self) -> Answer:
        """The answer to a check, code and DSN corrected."""
        code = b"" if self.code is None else b"%d" % self.code
        return answers.answer(self.verdict, to_bytes(self.reply), code, to_bytes(self.dsn or ""), self.delay_s)

    def to_result(self) -> Bounce | Tempfail | Discard:
        """The line of RESULTS for a message's verdict, code and DSN corrected; only for a final one."""
        answer = self.to_answer()
        text = answer.text or b""
        match self.verdict:
            case Verdict.REJECT:
                return results.Bounce(code=answer.code, dsn=answer.dsn, text=text)
            case Verdict.TEMPFAIL:
                return results.Tempfail(code=answer.code, dsn=answer.dsn, text=text)
            case Verdict.DISCARD:
                return results.Discard()
            case _:
                raise ValueError(f"{self.verdict.name} is no verdict on a message")

    def correction(self) -> str | None:
        """What had to be corrected in code or DSN, for the log; None if they fit."""
        answer = self.to_answer()
        wrong = []
        if self.code is not None and b"%d" % self.code != answer.code:
            wrong.append(f"code {self.code} became {answer.code.decode()}")
        if self.dsn is not None and to_bytes(self.dsn) != answer.dsn:
            wrong.append(f"DSN {self.dsn} became {answer.dsn.decode()}")
        return f"{self.verdict.name.lower()}: " + ", ".join(wrong) if wrong else None


class CheckFailed(Exception):
    """A check of connection or envelope could not tell, and its failure policy is a temporary failure.

    A callback that lets it pass is answered for with `response`, and nothing is logged but the check.
    """

    __slots__ = ("response",)

    def __init__(self, response: Response) -> None:
        super().__init__(response.reply)
        self.response = response
        """What the client is told."""
