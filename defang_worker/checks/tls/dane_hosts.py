# SPDX-License-Identifier: GPL-3.0-or-later
"""`dane_domain`: what DANE says of the mail hosts of a domain, `DaneHost` each (RFC 7672, section 2).

Only what holds by DNSSEC counts, at every step: which hosts they are, their addresses (of a host without DNSSEC no TLSA
records are asked for, to which some nameservers never answer), and the records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from defang_worker.checks.dns.answer import Question
from defang_worker.checks.dns.mail_hosts import MailHosts, mail_hosts
from defang_worker.checks.tls.tlsa import TlsaRecord, usable_records

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.dns.answer import Answer
    from defang_worker.checks.dns.mail_hosts import MailHost
    from defang_worker.checks.dns.resolver import Resolver

__all__ = ["DaneDomain", "DaneHost", "DaneState", "dane_domain", "dane_hosts"]

SMTP_PORT: Final = 25


class DaneState(StrEnum):
    """What is known of a host's certificate."""

    USABLE = "usable"
    """There are records to verify it by: without that no mail is to go there."""
    UNUSABLE = "unusable"
    """There are records, and none that can be used: mail is to go there by TLS, whatever the certificate."""
    NONE = "none"
    """DNSSEC says that there are no records."""
    INSECURE = "insecure"
    """There is no DNSSEC, so there is nothing to go by."""
    UNKNOWN = "unknown"
    """It could not be found out: no mail is to go there for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaneHost:
    """A host that takes mail for the domain, and its TLSA records."""

    name: str
    state: DaneState
    preference: int = 0
    base: str = ""
    """The name that has the records: the one to send as server name (SNI), and to look for in a certificate."""
    records: tuple[TlsaRecord, ...] = ()
    """Those that count."""
    reason: str = ""
    """Why nothing can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaneDomain:
    """A mail domain's hosts, in the order of their preference."""

    domain: str
    is_secure: bool = False
    """Whether it holds by DNSSEC that it is these hosts; if not, their records protect from nobody on the way."""
    takes_no_mail: bool = False
    hosts: tuple[DaneHost, ...] = ()
    reason: str = ""
    """Why nothing can be told of the domain."""

    @property
    def state(self) -> DaneState:
        """One word for all hosts: mail can be kept off a host that has records, towards one that has none."""
        if self.reason:
            return DaneState.UNKNOWN
        if not self.is_secure:
            return DaneState.INSECURE
        states = {host.state for host in self.hosts}
        weakest = (DaneState.INSECURE, DaneState.NONE, DaneState.UNKNOWN, DaneState.UNUSABLE, DaneState.USABLE)
        return next((state for state in weakest if state in states), DaneState.NONE)


def dane_domain(domain: str, resolver: Resolver, deadline: Deadline, *, port: int = SMTP_PORT) -> DaneDomain:
    """What DANE says of a domain's hosts; raises CouldNotTell if the hosts themselves cannot be found out."""
    told = mail_hosts(domain, resolver, deadline)
    return DaneDomain(
        domain=domain,
        is_secure=told.is_authentic,
        takes_no_mail=told.is_null,
        hosts=dane_hosts(told, resolver, deadline, port=port) if told.is_authentic else (),
    )


def dane_hosts(
    told: MailHosts, resolver: Resolver, deadline: Deadline, *, port: int = SMTP_PORT
) -> tuple[DaneHost, ...]:
    """What DANE says of each of these hosts that has an address, however it is known that it is these."""
    hosts = [host for host in told.hosts if host.addresses or host.is_unknown]
    bases = _bases(hosts, resolver, deadline)
    questions = [_question(base, port) for names in bases.values() for base in names]
    answers = dict(resolver.answers(questions, deadline)) if questions else {}
    return tuple(_told(host, bases[host.name], answers, port) for host in hosts)


def _question(base: str, port: int) -> Question:
    return Question(f"_{port}._tcp.{base}", "TLSA")


def _bases(hosts: Sequence[MailHost], resolver: Resolver, deadline: Deadline) -> dict[str, list[str]]:
    """The names that may have each host's records, in their order (section 2.2.3)."""
    bases: dict[str, list[str]] = {}
    for host in hosts:
        bases[host.name] = []
        if host.is_authentic:
            bases[host.name] = [host.canonical_name, host.name] if host.canonical_name else [host.name]
    # An alias of a zone with DNSSEC may lead to a host without: then the alias itself may have records.
    aliases = [Question(host.name, "CNAME") for host in hosts if host.canonical_name and not host.is_authentic]
    for question, answer in resolver.answers(aliases, deadline) if aliases else ():
        if answer.is_found and answer.is_authentic:
            bases[question.name] = [question.name]
    return bases


def _told(host: MailHost, bases: Sequence[str], answers: Mapping[Question, Answer], port: int) -> DaneHost:
    def told(state: DaneState, base: str = "", reason: str = "", records: tuple[TlsaRecord, ...] = ()) -> DaneHost:
        return DaneHost(
            name=host.name, preference=host.preference, state=state, base=base, reason=reason, records=records
        )

    if host.is_unknown and not host.is_authentic:
        return told(DaneState.UNKNOWN, reason=f"addresses of {host.name}")
    state = DaneState.INSECURE
    for base in bases:
        question = _question(base, port)
        answer = answers[question]
        if answer.is_unknown:
            return told(DaneState.UNKNOWN, reason=f"{question}: {answer.reason}")
        if not answer.is_authentic:
            continue
        state = DaneState.NONE
        if answer.is_found:
            found = [TlsaRecord(one.usage, one.selector, one.mtype, one.cert) for one in answer.records]
            usable = usable_records(found)
            return told(DaneState.USABLE if usable else DaneState.UNUSABLE, base, records=usable)
    return told(state)
