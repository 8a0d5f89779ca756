# SPDX-License-Identifier: GPL-3.0-or-later
"""`SenderMx`: could an answer to the sender be delivered at all, by what the DNS says of its domain?"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from defang_worker.checks import subject as facts
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.dns.mail_hosts import MailHost, MailHosts, mail_hosts
from defang_worker.checks.dns.public_address import is_public
from defang_worker.checks.outcome import CheckResult, Outcome

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job

__all__ = ["MxResult", "SenderMx"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MxResult(CheckResult):
    """FOUND if something is wrong: an address that is nobody's or everybody's, no host with an address, a null MX."""

    hosts: tuple[MailHost, ...] = ()
    """The hosts that take mail for the domain, with their addresses."""
    bogus: tuple[str, ...] = ()
    """Those of the addresses that are not of the public Internet: 127.0.0.1, 10.0.0.1, ::1."""
    is_null: bool = False
    """Whether the domain says that it takes no mail (RFC 7505)."""

    def as_record(self) -> dict[str, Any]:
        """As every result has it, with an object for each host, of what is not empty."""
        told = CheckResult.as_record(self)
        hosts = [{name: value for name, value in asdict(host).items() if value} for host in self.hosts]
        return told | ({"hosts": hosts} if hosts else {})


class SenderMx(DnsCheck[Any, MxResult]):
    """Is something wrong with the mail hosts of the envelope sender's domain? `about` gives another domain.

    A domain of the site's own whose mail hosts have private addresses is not for this check.
    """

    result_type = MxResult

    def __init__(
        self, *, name: str = "sender-mx", about: Callable[[Any], str] = facts.sender_domain, **more: Any
    ) -> None:
        super().__init__(name, **more)
        self.about = about

    def prepare(self, subject: Any) -> Job[MxResult] | MxResult:
        """Takes the domain."""
        domain = self.about(subject).strip(".")
        if not domain or domain.startswith("["):
            return self.result(Outcome.NOT_APPLICABLE, "no domain")  # type: ignore[no-any-return]
        return lambda deadline: self._looked_up(domain, deadline)

    def _looked_up(self, domain: str, deadline: Deadline) -> MxResult:
        told = mail_hosts(domain, self.resolver, deadline)
        bogus = tuple(one for one in (*told.addresses, *_literals(told)) if not is_public(one))
        if told.is_null:
            problem = f"{domain} takes no mail"
        elif bogus:
            problem = f"{domain} has {', '.join(bogus)}"
        elif not told.addresses:
            problem = f"{domain} has no mail host with an address"
        else:
            problem = ""
        outcome = Outcome.FOUND if problem else Outcome.NOT_FOUND
        return self.result(outcome, problem, hosts=told.hosts, bogus=bogus, is_null=told.is_null)  # type: ignore[no-any-return]


def _literals(told: MailHosts) -> list[str]:
    """MX records that name an address, which RFC 1035 forbids and many senders try all the same."""
    found = []
    for host in told.hosts:
        try:
            found.append(str(ipaddress.ip_address(host.name)))
        except ValueError:
            continue
    return found
