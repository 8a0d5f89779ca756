# SPDX-License-Identifier: GPL-3.0-or-later
"""`Bimi`: may a mail program show the indicator of the author's domain, and where is it?

draft-brand-indicators-for-message-identification-14. Runs DMARC itself. Neither image nor certificate is fetched: that
is for the program that shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.auth.author import author_addresses
from defang_worker.checks.auth.bimi_record import (
    DEFAULT_SELECTOR,
    BimiRecord,
    MalformedAssertion,
    assertions,
    selector_of,
)
from defang_worker.checks.auth.bimi_result import BimiResult, BimiWord, ineligible
from defang_worker.checks.auth.dmarc_check import Dmarc
from defang_worker.checks.auth.dmarc_record import Record
from defang_worker.checks.auth.dmarc_result import DmarcWord
from defang_worker.checks.auth.inner_check import inner_job
from defang_worker.checks.dns.answer import Question
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from defang_worker.api.message import Message
    from defang_worker.checks.auth.dmarc_result import DmarcResult
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.dns.answer import Answer

__all__ = ["Bimi"]

# A round trip more than DMARC.
_TIMEOUT_S: Final = 30.0
_SELECTOR_FIELD: Final = "bimi-selector"
# Section 5.6: only the receiving site may write them, for its mail programs believe them.
_FIELDS_OF_RECEIVERS: Final = ("BIMI-Location", "BIMI-Indicator", "BIMI-Logo-Preference")
_OUTCOMES: Final = {
    BimiWord.PASS: Outcome.FOUND,
    BimiWord.NONE: Outcome.NOT_FOUND,
    BimiWord.FAIL: Outcome.NOT_FOUND,
    BimiWord.DECLINED: Outcome.NOT_FOUND,
    BimiWord.SKIPPED: Outcome.NOT_APPLICABLE,
    BimiWord.TEMPERROR: Outcome.UNKNOWN,
}


class Bimi(DnsCheck["Message", BimiResult]):
    """Has the author's domain an indicator that the message may have, being authentic?

    `dmarc` is the check that it runs, with its result in its own; without, it makes one.
    """

    result_type = BimiResult

    def __init__(self, *, name: str = "bimi", dmarc: Dmarc | None = None, **more: Any) -> None:
        super().__init__(name, **{"timeout_s": _TIMEOUT_S, **more})
        self.dmarc = dmarc or Dmarc(resolver=self.resolver)

    @staticmethod
    def remove_forged(message: Message) -> None:
        """Deletes the fields by which a receiving site tells its mail programs which indicator to show, and which no
        other one may write: BIMI-Location, BIMI-Indicator, BIMI-Logo-Preference."""
        for name in _FIELDS_OF_RECEIVERS:
            message.headers.delete_all(name)

    def prepare(self, subject: Message) -> Job[BimiResult] | BimiResult:
        """Takes author and selector, and what DMARC needs."""
        dmarc = inner_job(self.dmarc, subject)
        fields = subject.headers_as_they_came()
        try:
            authors = len(author_addresses(fields))
        except ValueError:
            authors = 0
        selector = selector_of([value for name, value in fields if name.lower() == _SELECTOR_FIELD.encode()])
        return lambda deadline: self._evaluated(dmarc(deadline), authors, selector, deadline)

    def _evaluated(self, dmarc: DmarcResult, authors: int, selector: str, deadline: Deadline) -> BimiResult:
        if dmarc.word is DmarcWord.TEMPERROR:
            return self._told(BimiWord.TEMPERROR, "DMARC could not be told", dmarc)
        if reason := ineligible(dmarc, ()) or ("not one author" if authors != 1 else ""):
            return self._told(BimiWord.SKIPPED, reason, dmarc)
        selector = selector if _is_signed(dmarc) else ""
        places = _places(selector or DEFAULT_SELECTOR, dmarc)
        policies = [Question(f"_dmarc.{name}", "TXT") for name in (dmarc.domain, dmarc.organization)]
        answers = dict(self.resolver.answers([*places, *policies], deadline))
        if unknown := [answers[one] for one in (*places, *policies) if answers[one].is_unknown]:
            return self._told(BimiWord.TEMPERROR, unknown[0].reason, dmarc)
        records = [record for one in policies if (record := Record.of(_texts(answers[one]))) is not None]
        if reason := ineligible(dmarc, records):
            return self._told(BimiWord.SKIPPED, reason, dmarc)
        return self._asserted(places, answers, dmarc)

    def _asserted(
        self, places: Mapping[Question, tuple[str, str]], answers: Mapping[Question, Answer], dmarc: DmarcResult
    ) -> BimiResult:
        """What the first place says that says anything (section 7.2)."""
        for question, (selector, domain) in places.items():
            found = assertions(_texts(answers[question]))
            if not found:
                continue
            if len(found) > 1:
                return self._told(BimiWord.FAIL, "several records", dmarc, domain=domain, selector=selector)
            try:
                record = BimiRecord.of(found[0])
            except MalformedAssertion as fault:
                return self._told(BimiWord.FAIL, str(fault), dmarc, domain=domain, selector=selector)
            return self._told(
                BimiWord.DECLINED if record.is_declined else BimiWord.PASS,
                f"selector {selector} of {domain}",
                dmarc,
                domain=domain,
                selector=selector,
                location=record.location,
                authority=record.authority,
                avatar=record.avatar,
            )
        selector, domain = next(iter(places.values()))
        return self._told(BimiWord.NONE, "no record", dmarc, domain=domain, selector=selector)

    def _told(self, word: BimiWord, why: str, dmarc: DmarcResult, **more: str) -> BimiResult:
        detail = f"{word} {dmarc.domain}".rstrip() + f": {why}"
        return self.result(_OUTCOMES[word], detail, word=word, dmarc=dmarc, **more)  # type: ignore[no-any-return]


def _places(selector: str, dmarc: DmarcResult) -> dict[Question, tuple[str, str]]:
    """The questions for a record, with selector and domain: what is not there falls back to the organization's own."""
    wanted = ((selector, dmarc.domain), (DEFAULT_SELECTOR, dmarc.organization or dmarc.domain))
    return {Question(f"{label}._bimi.{domain}", "TXT"): (label, domain) for label, domain in wanted}


def _is_signed(dmarc: DmarcResult) -> bool:
    """Whether a signature that speaks for the author is for the field with the selector, too (section 5.5)."""
    if dmarc.dkim is None or not dmarc.is_dkim_aligned:
        return False
    return any(
        one.is_pass
        and _SELECTOR_FIELD in one.signed_fields
        and (one.domain == dmarc.organization or one.domain.endswith(f".{dmarc.organization}"))
        for one in dmarc.dkim.signatures
    )


def _texts(answer: Answer) -> Sequence[bytes]:
    return answer.texts if answer.is_found else ()
