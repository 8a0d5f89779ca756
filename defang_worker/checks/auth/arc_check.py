# SPDX-License-Identifier: GPL-3.0-or-later
"""`Arc`: verifies the chain of those that handed a message on and sealed what they had found (RFC 8617)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from defang_worker.checks.auth.arc_chain import ARC_FIELDS, BrokenChain, read_chain
from defang_worker.checks.auth.arc_result import ArcResult, ArcSeal, ArcWord
from defang_worker.checks.auth.arc_verify import NotValid, Validation
from defang_worker.checks.auth.cfws import Unreadable
from defang_worker.checks.auth.payload import read_head, read_results
from defang_worker.checks.auth.signed_text import SignedText
from defang_worker.checks.dns.answer import Question
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from defang_worker.api.message import Message
    from defang_worker.checks.auth.arc_chain import ArcSet
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.dns.answer import Answer

__all__ = ["Arc"]


class Arc(DnsCheck["Message", ArcResult]):
    """Who has sealed the message on its way, as it came, and does the chain of seals hold?"""

    result_type = ArcResult

    def __init__(self, *, name: str = "arc", **more: Any) -> None:
        super().__init__(name, **more)

    def prepare(self, subject: Message) -> Job[ArcResult] | ArcResult:
        """Takes the message apart, if somebody has sealed it."""
        if all(name.lower() not in ARC_FIELDS for name, _ in subject.headers_as_they_came()):
            return self._told(Outcome.NOT_APPLICABLE, "no chain", word=ArcWord.NONE)
        text = SignedText.of(subject.raw)
        return lambda deadline: self._verified(text, deadline)

    def _verified(self, text: SignedText, deadline: Deadline) -> ArcResult:
        def ask(names: Iterable[str]) -> dict[str, Answer]:
            answers = self.resolver.answers([Question(name, "TXT") for name in names], deadline)
            by_name = {question.name: answer for question, answer in answers}
            return {name: by_name[Question(name, "TXT").name] for name in names}

        try:
            chain = read_chain(text.fields)
        except BrokenChain as broken:
            return self._failed(str(broken))
        seals = tuple(map(_seal, chain))
        try:
            oldest_pass = Validation(text, chain, ask, deadline).oldest_pass()
        except NotValid as fault:
            outcome = Outcome.UNKNOWN if fault.is_open else Outcome.FOUND
            return self._failed(str(fault), outcome, seals)
        sealed_by = ", ".join(one.domain for one in seals)
        return self._told(
            Outcome.NOT_FOUND, f"pass {sealed_by}", word=ArcWord.PASS, seals=seals, oldest_pass=oldest_pass
        )

    def _failed(self, reason: str, outcome: Outcome = Outcome.FOUND, seals: tuple[ArcSeal, ...] = ()) -> ArcResult:
        return self._told(outcome, f"fail: {reason}", word=ArcWord.FAIL, seals=seals, reason=reason)

    def _told(self, outcome: Outcome, detail: str, **facts: Any) -> ArcResult:
        return self.result(outcome, detail, **facts)  # type: ignore[no-any-return]  # of its own type


def _seal(one: ArcSet) -> ArcSeal:
    tags = one.seal_tags
    text = one.results[1].decode("utf-8", "surrogateescape").rstrip()
    told = ArcSeal(
        instance=one.instance,
        domain=tags.get(b"d", b"").decode("utf-8", "replace").lower(),
        selector=tags.get(b"s", b"").decode("utf-8", "replace"),
    )
    try:
        head = read_head(text, one.results_at)
        results = tuple(read_results(text, head.end))
    except Unreadable:
        return told
    return ArcSeal(
        instance=told.instance,
        domain=told.domain,
        selector=told.selector,
        authserv_id=head.authserv_id,
        results=results,
    )
