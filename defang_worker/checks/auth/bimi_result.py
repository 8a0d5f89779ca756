# SPDX-License-Identifier: GPL-3.0-or-later
"""`BimiResult`, what came of BIMI for a message, and `ineligible`, why none may come of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from defang_worker.checks.auth.dmarc_record import DmarcPolicy
from defang_worker.checks.auth.dmarc_result import DmarcWord
from defang_worker.checks.auth.method_result import MethodResult
from defang_worker.checks.outcome import CheckResult

if TYPE_CHECKING:
    from defang_worker.api.envelope import Envelope
    from defang_worker.checks.auth.dmarc_record import Record
    from defang_worker.checks.auth.dmarc_result import DmarcResult

__all__ = ["BimiResult", "BimiWord", "ineligible"]


class BimiWord(StrEnum):
    """The results of the draft, section 7.7."""

    PASS = "pass"  # noqa: S105  # no password
    """The message may have the indicator that its author's domain asserts."""
    NONE = "none"
    """The domain asserts none."""
    FAIL = "fail"
    """The record is malformed, or there are several."""
    DECLINED = "declined"
    """The domain says that it wants none."""
    SKIPPED = "skipped"
    """The message is not authentic enough, so the record was not looked at."""
    TEMPERROR = "temperror"


@dataclass(frozen=True, slots=True, kw_only=True)
class BimiResult(CheckResult):
    """FOUND for pass, NOT_FOUND for none, fail and declined, NOT_APPLICABLE for skipped, UNKNOWN for temperror."""

    word: BimiWord = BimiWord.TEMPERROR
    domain: str = ""
    """Whose record it is: the author's domain, or its organizational domain."""
    selector: str = ""
    """Under which name the record is there."""
    location: str = ""
    """Where the indicator is, by the record (l=); empty if only the evidence has it. Nobody has looked at it."""
    authority: str = ""
    """Where the evidence for it is, a certificate (a=); empty if there is none. Nobody has looked at it."""
    avatar: str = ""
    """`brand` or `personal`, if the domain prefers one of them (avp=)."""
    dmarc: DmarcResult | None = None

    def authentication_results(self, envelope: Envelope) -> list[MethodResult]:
        """DMARC's, and one for the author's domain."""
        told = [] if self.dmarc is None else self.dmarc.authentication_results(envelope)
        is_pass = self.word is BimiWord.PASS
        about = (
            ("header.d", self.domain),
            ("header.selector", self.selector),
            # By this word the certificate was not checked.
            ("policy.authority", "none" if is_pass else ""),
            ("policy.authority-uri", self.authority),
            ("policy.indicator-uri", self.location),
        )
        comment = "by the record alone" if is_pass else self.detail.partition(": ")[2]
        return [*told, MethodResult(method="bimi", result=self.word, comment=comment, properties=about)]

    def as_record(self) -> dict[str, Any]:
        """With DMARC's own record within."""
        told = CheckResult.as_record(self)
        if self.dmarc is not None:
            told["dmarc"] = self.dmarc.as_record()
        return told


def ineligible(dmarc: DmarcResult, records: Sequence[Record]) -> str:
    """Why a message may have no indicator, by what DMARC found, and the records of its author's domain and organization
    (section 7.1); empty if it may."""
    if dmarc.word is not DmarcWord.PASS:
        return f"DMARC {dmarc.word}"
    if DmarcPolicy.NONE in (dmarc.policy, *(record.policy for record in records)):
        return "the domain's DMARC policy asks for nothing"
    if any(record.subdomain_policy is DmarcPolicy.NONE for record in records):
        return "the domain's DMARC policy asks for nothing below it"
    if any(record.is_partial or record.is_testing for record in records):
        return "the domain's DMARC policy is not for all mail"
    return ""
