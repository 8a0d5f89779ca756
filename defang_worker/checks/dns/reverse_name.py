# SPDX-License-Identifier: GPL-3.0-or-later
"""`ReverseName`: has the client's address a name that leads back to it?"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks import subject as facts
from defang_worker.checks.auth.method_result import MethodResult
from defang_worker.checks.dns.answer import Question
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import CheckResult, Outcome

if TYPE_CHECKING:
    from defang_worker.api.envelope import Envelope
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job

__all__ = ["ReverseName", "ReverseNameResult"]

# What SPF allows for its own look at these names (RFC 7208, section 4.6.4).
_MAX_NAMES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseNameResult(CheckResult):
    """FOUND if the address has no name that leads back to it."""

    names: tuple[str, ...] = ()
    """The names that the address claims, in small letters; no more than ten are looked at."""
    confirmed: tuple[str, ...] = ()
    """Those that have the address."""

    def authentication_results(self, envelope: Envelope) -> list[MethodResult]:
        """What RFC 8601, section 3, calls iprev; for the client's own address."""
        match self.outcome:
            case Outcome.NOT_FOUND:
                word = "pass"
            case Outcome.UNKNOWN:
                word = "temperror"
            case _:
                # Section 2.7.3: names that do not lead back are a failure, and no names an error.
                word = "fail" if self.names else "permerror"
        properties = (("policy.iprev", envelope.client_ip),)
        name = self.confirmed[0] if self.confirmed else ""
        return [MethodResult(method="iprev", result=word, comment=name, properties=properties)]


class ReverseName(DnsCheck[Any, ReverseNameResult]):
    """Does the client's address, IPv4 or IPv6, lack a name (PTR) that leads back to it? `about` gives another one."""

    result_type = ReverseNameResult

    def __init__(
        self, *, name: str = "reverse-name", about: Callable[[Any], str] = facts.client_ip, **more: Any
    ) -> None:
        super().__init__(name, **more)
        self.about = about

    def prepare(self, subject: Any) -> Job[ReverseNameResult] | ReverseNameResult:
        """Takes the address."""
        try:
            ip = ipaddress.ip_address(self.about(subject))
        except ValueError:
            return self.result(Outcome.NOT_APPLICABLE, "no address")  # type: ignore[no-any-return]
        mapped = getattr(ip, "ipv4_mapped", None)
        return lambda deadline: self._looked_up(mapped or ip, deadline)

    def _looked_up(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address, deadline: Deadline) -> ReverseNameResult:
        answer = self.resolver.ask(ip.reverse_pointer, "PTR", deadline)
        if answer.is_unknown:
            raise CouldNotTell(f"PTR of {ip}: {answer.reason}")
        names = sorted({record.target.to_text(omit_final_dot=True).lower() for record in answer.records})[:_MAX_NAMES]
        questions = [Question(name, "A" if ip.version == 4 else "AAAA") for name in names]
        confirmed, unknown = [], []
        for question, forward in self.resolver.answers(questions, deadline):
            if forward.is_unknown:
                unknown.append(f"{question}: {forward.reason}")
            elif forward.is_found and any(ipaddress.ip_address(one) == ip for one in forward.addresses):
                confirmed.append(question.name)
        if unknown and not confirmed:
            raise CouldNotTell("; ".join(unknown))
        outcome = Outcome.NOT_FOUND if confirmed else Outcome.FOUND
        detail = ", ".join(sorted(confirmed)) or (f"unconfirmed: {', '.join(names)}" if names else "no name")
        return self.result(  # type: ignore[no-any-return]  # of this check's own type
            outcome, detail, names=tuple(names), confirmed=tuple(sorted(confirmed))
        )
