# SPDX-License-Identifier: GPL-3.0-or-later
"""`Dane`: do the mail hosts of the recipients' domains tell by DNSSEC which certificates they have (RFC 7672)?

It only asks the DNS. Whoever then talks to such a host verifies its certificate with `dane.verified`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import CheckResult, Outcome
from defang_worker.checks.tls.dane_hosts import DaneDomain, DaneState, dane_domain
from defang_worker.checks.tls.domains import DomainsCheck

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline

__all__ = ["Dane", "DaneResult"]

# Four questions follow one another, and a nameserver that verifies has more to ask than another.
_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DaneResult(CheckResult):
    """FOUND if every host of every domain has records to verify it by, NOT_FOUND if one has none, NOT_APPLICABLE if
    a domain has no DNSSEC or takes no mail."""

    domains: tuple[DaneDomain, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """With an object for each domain, and the state of its hosts by name."""
        told = CheckResult.as_record(self)
        if self.domains:
            told["domains"] = [
                {
                    "domain": one.domain,
                    "state": one.state.value,
                    "hosts": {host.name: host.state.value for host in one.hosts},
                }
                for one in self.domains
            ]
        return told


class Dane(DomainsCheck[DaneResult]):
    """Is mail to these domains safe from anybody on the way, because their hosts' certificates are in the DNS?

    Needs a nameserver that verifies DNSSEC, and to which the way is safe; with another one it cannot tell.
    """

    result_type = DaneResult

    def __init__(self, *, name: str = "dane", **more: Any) -> None:
        super().__init__(name, **{"timeout_s": _TIMEOUT_S, **more})

    def _looked_up(self, domains: Sequence[str], deadline: Deadline) -> DaneResult:
        if not self.resolver.is_trusted:
            raise CouldNotTell("what the nameserver says about DNSSEC does not count: it is on another host")
        found = self._each(lambda number: self._one(domains[number], deadline), len(domains))
        return self._summary([(one.domain, *_told(one)) for one in found], domains=found)

    def _one(self, domain: str, deadline: Deadline) -> DaneDomain:
        try:
            return dane_domain(domain, self.resolver, deadline)
        except CouldNotTell as fault:
            return DaneDomain(domain=domain, reason=str(fault))


def _told(one: DaneDomain) -> tuple[Outcome, str]:
    if one.takes_no_mail and not one.reason:
        return Outcome.NOT_APPLICABLE, "takes no mail"
    state = one.state
    match state:
        case DaneState.USABLE:
            return Outcome.FOUND, "usable records"
        case DaneState.UNUSABLE:
            return Outcome.NOT_FOUND, "only records that cannot be used"
        case DaneState.NONE:
            return Outcome.NOT_FOUND, "no records" if one.hosts else "no mail host"
        case DaneState.INSECURE:
            return Outcome.NOT_APPLICABLE, "no DNSSEC"
        case DaneState.UNKNOWN:
            return Outcome.UNKNOWN, one.reason or "; ".join(filter(None, (host.reason for host in one.hosts)))
        case _:
            assert_never(state)
