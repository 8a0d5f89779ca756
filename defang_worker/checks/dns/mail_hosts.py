# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the DNS says a domain's mail is to go: `mail_hosts`, with all addresses, for checks and for calls ahead.

RFC 5321, section 5.1: the MX records, or without any the domain itself; RFC 7505: an MX record of "." says that the
domain takes no mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from defang_worker.checks.dns.answer import Question, Status
from defang_worker.checks.faults import CouldNotTell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.dns.answer import Answer
    from defang_worker.checks.dns.resolver import Resolver

__all__ = ["MailHost", "MailHosts", "mail_hosts"]

# More have no use, and whoever owns the domain is not to make this host ask for hundreds.
_MAX_HOSTS: Final = 10
# A stranger's name may have thousands, which would fill log and record.
_MAX_ADDRESSES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class MailHost:
    """A host that takes mail for the domain."""

    name: str
    preference: int = 0
    """The less, the sooner it is to be asked; 0 for a domain without MX records."""
    addresses: tuple[str, ...] = ()
    """IPv4 and IPv6, as text; none if its name has none."""
    is_unknown: bool = False
    """Whether some of its addresses could not be found out."""
    is_authentic: bool = False
    """Whether what the DNS says of its addresses holds by DNSSEC."""
    canonical_name: str = ""
    """The name that has the addresses, if it is another one (CNAME)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailHosts:
    """All of them, in the order of their preference."""

    hosts: tuple[MailHost, ...] = ()
    is_null: bool = False
    """Whether the domain says that it takes no mail."""
    has_mx: bool = False
    """Whether they come from MX records."""
    is_authentic: bool = False
    """Whether it holds by DNSSEC that it is these hosts."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of all hosts, each once."""
        return tuple(dict.fromkeys(address for host in self.hosts for address in host.addresses))


def mail_hosts(domain: str, resolver: Resolver, deadline: Deadline) -> MailHosts:
    """The hosts that take mail for a domain, with their addresses; none if it does not exist.

    Raises CouldNotTell if the MX records cannot be found out, or no address of any host.
    """
    answer = resolver.ask(domain, "MX", deadline)
    match answer.status:
        case Status.UNKNOWN:
            raise CouldNotTell(f"MX of {domain}: {answer.reason}")
        case Status.NO_NAME:
            return MailHosts(is_authentic=answer.is_authentic)
        case Status.NO_DATA:
            wanted = [(0, domain)]
        case Status.FOUND:
            wanted = sorted(
                (record.preference, record.exchange.to_text(omit_final_dot=True)) for record in answer.records
            )
            if all(name == "." for _, name in wanted):
                return MailHosts(is_null=True, has_mx=True, is_authentic=answer.is_authentic)
        case _:
            assert_never(answer.status)
    hosts = _with_addresses(wanted[:_MAX_HOSTS], resolver, deadline)
    if not any(host.addresses for host in hosts) and any(host.is_unknown for host in hosts):
        raise CouldNotTell(f"addresses of {', '.join(host.name for host in hosts)}")
    return MailHosts(hosts=hosts, has_mx=answer.is_found, is_authentic=answer.is_authentic)


def _with_addresses(wanted: Sequence[tuple[int, str]], resolver: Resolver, deadline: Deadline) -> tuple[MailHost, ...]:
    questions = [Question(name, rdtype) for _, name in wanted for rdtype in ("A", "AAAA")]
    answers = dict(resolver.answers(questions, deadline))
    return tuple(
        _host(name, preference, [answers[Question(name, "A")], answers[Question(name, "AAAA")]])
        for preference, name in wanted
    )


def _host(name: str, preference: int, answers: list[Answer]) -> MailHost:
    found = [answer for answer in answers if answer.is_found]
    canonical = found[0].canonical_name if found else ""
    return MailHost(
        name=name.lower(),
        preference=preference,
        addresses=tuple(address for answer in found for address in answer.addresses[:_MAX_ADDRESSES]),
        is_unknown=any(answer.is_unknown for answer in answers),
        is_authentic=bool(found) and all(answer.is_authentic for answer in found),
        canonical_name=canonical if canonical != name.lower() else "",
    )
