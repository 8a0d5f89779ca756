# SPDX-License-Identifier: GPL-3.0-or-later
"""`Dane`: how each mail host of a domain is to be called, by what the DNS vouches for of its certificate (RFC 7672).

Loaded for calls with `tls="dane"` only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, assert_never

from defang_worker.checks.callahead.tls import Tls, TlsUse, anybody
from defang_worker.checks.dns.mail_hosts import mail_hosts
from defang_worker.checks.faults import CouldNotTell, ServiceFault
from defang_worker.checks.tls.certificate import peer_chain
from defang_worker.checks.tls.dane import verified
from defang_worker.checks.tls.dane_hosts import DaneHost, DaneState, dane_hosts

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.callahead.servers import Server
    from defang_worker.checks.dns.resolver import Resolver

__all__ = ["Dane"]


class Dane:
    """What is known of these servers, each found by a domain's MX records; raises CouldNotTell if that is nothing."""

    def __init__(self, servers: Iterable[Server], resolver: Resolver, deadline: Deadline) -> None:
        if not resolver.is_trusted:
            raise CouldNotTell("what the nameserver says about DNSSEC does not count: it is on another host")
        self._hosts: dict[tuple[str, str, int], DaneHost] = {}
        for domain, port in dict.fromkeys((server.domain, server.port) for server in servers):
            told = mail_hosts(domain, resolver, deadline)
            # Who may have been led to other hosts by a forger gains nothing by their records.
            for host in dane_hosts(told, resolver, deadline, port=port) if told.is_authentic else ():
                self._hosts[domain, host.name, port] = host

    def tls_toward(self, server: Server) -> Tls:
        """How to call it; raises ServiceFault if it is not to be called now."""
        host = self._hosts.get((server.domain, server.name, server.port))
        if host is None:
            return Tls(TlsUse.MAY, anybody())
        match host.state:
            case DaneState.USABLE:
                verify = partial(_verify, host, server.domain)
                return Tls(TlsUse.MUST, anybody(), server_name=host.base, verify=verify)
            case DaneState.UNUSABLE:
                return Tls(TlsUse.MUST, anybody())
            case DaneState.NONE | DaneState.INSECURE:
                return Tls(TlsUse.MAY, anybody())
            case DaneState.UNKNOWN:
                raise ServiceFault(f"TLSA records: {host.reason}")
            case _:
                assert_never(host.state)


def _verify(host: DaneHost, domain: str, connected: ssl.SSLSocket) -> None:
    told = verified(host.records, peer_chain(connected), names=(host.base, domain))
    if not told:
        raise ServiceFault(f"DANE: {told.reason}")
