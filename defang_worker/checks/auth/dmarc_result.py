# SPDX-License-Identifier: GPL-3.0-or-later
"""`DmarcResult`, and how it is come by from SPF, DKIM and the records of the domains (RFC 9989). Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from defang_worker.checks.auth.dkim_result import DkimWord
from defang_worker.checks.auth.dmarc_record import DmarcPolicy
from defang_worker.checks.auth.method_result import MethodResult
from defang_worker.checks.outcome import CheckResult

if TYPE_CHECKING:
    from defang_worker.api.envelope import Envelope
    from defang_worker.checks.auth.dkim_result import DkimResult
    from defang_worker.checks.auth.dmarc_record import Record, Walk
    from defang_worker.checks.auth.spf import SpfResult

__all__ = ["Alignment", "DmarcResult", "DmarcWord", "alignment", "disposition", "may_align"]


class DmarcWord(StrEnum):
    """The words of RFC 8601 for DMARC."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    NONE = "none"
    """The domain has no policy."""
    TEMPERROR = "temperror"
    PERMERROR = "permerror"
    """There is no one author's domain: no From, several, or one that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DmarcResult(CheckResult):
    """FOUND for fail and permerror, NOT_FOUND for pass, NOT_APPLICABLE for none, UNKNOWN for temperror."""

    word: DmarcWord = DmarcWord.TEMPERROR
    domain: str = ""
    """The domain of the author, in From."""
    policy: DmarcPolicy = DmarcPolicy.NONE
    """What the domain asks for, if mail fails."""
    disposition: DmarcPolicy = DmarcPolicy.NONE
    """What it asks for about this message; one step less than the policy if it is only testing."""
    policy_domain: str = ""
    """Whose record it is."""
    organization: str = ""
    """The organizational domain of the author."""
    is_spf_aligned: bool = False
    """Whether SPF passed, for the author's domain or organization."""
    is_dkim_aligned: bool = False
    """Whether a signature holds, by the author's domain or organization."""
    spf: SpfResult | None = None
    dkim: DkimResult | None = None

    def authentication_results(self, envelope: Envelope) -> list[MethodResult]:
        """SPF's and DKIM's, and one for the author's domain."""
        told = [one for part in (self.spf, self.dkim) if part for one in part.authentication_results(envelope)]
        # RFC 9989 has properties of its own for the policy, polrec.p and polrec.domain. To programs that know RFC 8601
        # only, a kind of property that is not in it makes the whole field unreadable.
        policy = self.policy if self.policy_domain else ""
        said = (
            f"disposition {self.disposition}" if self.word is DmarcWord.FAIL else "",
            f"policy of {self.policy_domain}" if self.policy_domain != self.domain and self.policy_domain else "",
        )
        return [
            *told,
            MethodResult(
                method="dmarc",
                result=self.word,
                comment=", ".join(filter(None, said)),
                properties=(("header.from", self.domain), ("policy.dmarc", policy)),
            ),
        ]

    def as_record(self) -> dict[str, Any]:
        """With SPF's and DKIM's own records within."""
        told = CheckResult.as_record(self)
        for name, one in (("spf", self.spf), ("dkim", self.dkim)):
            if one is not None:
                told[name] = one.as_record()
        return {name: value for name, value in told.items() if value is not False}


@dataclass(frozen=True, slots=True)
class Alignment:
    """Whether SPF and DKIM speak for the author, or might have, had the DNS answered."""

    spf: bool
    dkim: bool
    is_open: bool

    @property
    def word(self) -> DmarcWord:
        """What follows of it for a domain with a policy."""
        if self.spf or self.dkim:
            return DmarcWord.PASS
        return DmarcWord.TEMPERROR if self.is_open else DmarcWord.FAIL


def may_align(domain: str, author: Walk) -> bool:
    """Whether a domain can have the author's organization; then its own walk has to tell."""
    return domain == author.organization or domain.endswith(f".{author.organization}")


def alignment(
    author: Walk, record: Record, spf: SpfResult, dkim: DkimResult, organization: Callable[[str], str | None]
) -> Alignment:
    """Which of them align; `organization` gives that of a domain, None if it cannot be told just now."""
    is_open = dkim.is_unknown and not dkim.signatures

    def aligned(domain: str, *, is_strict: bool) -> bool | None:
        if domain == author.domain:
            return True
        if is_strict or not may_align(domain, author):
            return False
        theirs = organization(domain)
        return None if theirs is None else theirs == author.organization

    by_spf = aligned(spf.domain, is_strict=record.is_spf_strict) if spf.word in ("pass", "temperror") else False
    is_open |= by_spf is None or bool(by_spf and spf.word == "temperror") or (spf.is_unknown and not spf.domain)
    by_dkim = False
    for one in dkim.signatures:
        if one.result in (DkimWord.PASS, DkimWord.TEMPERROR):
            is_aligned = aligned(one.domain, is_strict=record.is_dkim_strict)
            by_dkim |= one.is_pass and is_aligned is True
            is_open |= is_aligned is None or bool(is_aligned and not one.is_pass)
    return Alignment(bool(by_spf and spf.word == "pass"), by_dkim, is_open)


def disposition(policy: DmarcPolicy, record: Record) -> DmarcPolicy:
    """What is asked for about a message that fails."""
    if not record.is_testing:
        return policy
    return DmarcPolicy.QUARANTINE if policy is DmarcPolicy.REJECT else DmarcPolicy.NONE
