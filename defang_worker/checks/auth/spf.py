# SPDX-License-Identifier: GPL-3.0-or-later
"""`Spf`: may this client send mail for this domain, as the domain says (RFC 7208)?"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal

from defang_worker.checks import subject as facts
from defang_worker.checks.auth.method_result import MethodResult
from defang_worker.checks.auth.spf_query import evaluate
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.outcome import CheckResult, Outcome

if TYPE_CHECKING:
    from defang_worker.api.envelope import Envelope
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job

__all__ = ["Spf", "SpfResult", "SpfWord"]

Identity = Literal["mailfrom", "helo"]

# RFC 7208, section 4.6.4: no less than this should be granted for all lookups.
_TIMEOUT_S: Final = 20.0
_MAX_EXPLANATION_CHARS: Final = 500


class SpfWord(StrEnum):
    """The results of RFC 7208, section 2.6, as Authentication-Results has them, too."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_OUTCOMES: Final = {
    SpfWord.PASS: Outcome.NOT_FOUND,
    SpfWord.FAIL: Outcome.FOUND,
    SpfWord.SOFTFAIL: Outcome.FOUND,
    SpfWord.NEUTRAL: Outcome.NOT_APPLICABLE,
    SpfWord.NONE: Outcome.NOT_APPLICABLE,
    # Nobody but the domain's owner can help it: to come again does not.
    SpfWord.PERMERROR: Outcome.NOT_APPLICABLE,
    SpfWord.TEMPERROR: Outcome.UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpfResult(CheckResult):
    """FOUND for fail and softfail, NOT_FOUND for pass; UNKNOWN for temperror; the others are NOT_APPLICABLE."""

    word: SpfWord = SpfWord.TEMPERROR
    """The result as the RFC calls it."""
    identity: Identity = "mailfrom"
    """What was checked; "helo" for a null sender, too."""
    domain: str = ""
    """The domain whose word it is."""

    def authentication_results(self, envelope: Envelope) -> list[MethodResult]:
        """One, with the identity that was checked."""
        sender = envelope.sender.bare if self.identity == "mailfrom" else ""
        about = ("smtp.mailfrom", sender) if sender else ("smtp.helo", envelope.helo)
        reason = self.detail.partition(": ")[2] if self.word in (SpfWord.TEMPERROR, SpfWord.PERMERROR) else ""
        return [MethodResult(method="spf", result=self.word, reason=reason, properties=(about,))]


class Spf(DnsCheck[Any, SpfResult]):
    """May the client send mail from the envelope sender's domain; from the HELO's if there is none, or if so wanted?

    `receiver` is what a domain's explanation calls this host.
    """

    result_type = SpfResult

    def __init__(self, *, name: str = "spf", identity: Identity = "mailfrom", receiver: str = "", **more: Any) -> None:
        super().__init__(name, **{"timeout_s": _TIMEOUT_S, **more})
        if identity not in ("mailfrom", "helo"):
            raise ValueError(f'{name}: identity is "mailfrom" or "helo", not {identity!r}')
        self.identity: Identity = identity
        self.receiver = receiver or socket.gethostname()

    def prepare(self, subject: Any) -> Job[SpfResult] | SpfResult:
        """Takes client, HELO and sender."""
        ip, helo, sender = facts.client_ip(subject), facts.helo(subject), facts.sender(subject)
        identity: Identity = "mailfrom" if self.identity == "mailfrom" and sender else "helo"
        if identity == "helo":
            sender = ""
        try:
            is_local = ipaddress.ip_address(ip).is_loopback
        except ValueError:
            is_local = True
        # Section 2.3: a HELO that is no name of a host, such as [192.0.2.1], has no record. pyspf tells the same of it.
        domain = sender.rpartition("@")[2].lower() if sender else helo.lower()
        if is_local or not domain:
            reason = "no client of another host" if is_local else "no domain"
            return self._told(SpfWord.NONE, reason, identity, domain)

        def ask(deadline: Deadline) -> SpfResult:
            word, explanation = evaluate(
                ip=ip, sender=sender, helo=helo, receiver=self.receiver, resolver=self.resolver, deadline=deadline
            )
            return self._told(SpfWord(word), explanation, identity, domain)

        return ask

    def _told(self, word: SpfWord, explanation: str, identity: Identity, domain: str) -> SpfResult:
        # A domain's explanation of a failure is a stranger's text.
        explanation = " ".join(explanation.split())[:_MAX_EXPLANATION_CHARS]
        detail = f"{word} for {identity} {domain}".rstrip() + (f": {explanation}" if explanation else "")
        return self.result(  # type: ignore[no-any-return]  # of this check's own type
            _OUTCOMES[word], detail, word=word, identity=identity, domain=domain
        )
