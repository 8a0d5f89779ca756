# SPDX-License-Identifier: GPL-3.0-or-later
"""`Caller`: reaches servers, says whom a call may go to, and has the next asked if one does not answer.

Used by the threads of checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from defang_worker.checks.callahead import loop
from defang_worker.checks.callahead.dialogue import call
from defang_worker.checks.callahead.servers import found
from defang_worker.checks.callahead.tls import Tls, TlsUse
from defang_worker.checks.circuit import Circuit
from defang_worker.checks.endpoints import Endpoints
from defang_worker.checks.faults import CouldNotTell

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.callahead.dialogue import Answer, Question
    from defang_worker.checks.callahead.servers import Place, Server
    from defang_worker.checks.dns.mail_hosts import MailHosts
    from defang_worker.checks.dns.resolver import Resolver

__all__ = ["Caller"]

# Servers that are known at a time, for sites with one for each customer.
_MAX_KNOWN: Final = 256


class Caller:
    """Calls with `tls`; never this host itself at one of `own_ports`. `resolver` is for MX records."""

    def __init__(
        self,
        *,
        tls: TlsUse | str | ssl.SSLContext,
        own_ports: Sequence[int],
        resolver: Resolver | str | Sequence[str] | None,
    ) -> None:
        self._tls = Tls.of(tls)
        self._own_ports = frozenset(own_ports)
        self._resolver = resolver
        self._known: dict[tuple[str, ...], Endpoints] = {}
        # Who is asked shows only when a message is there: that all who are known are down says nothing of the next.
        self._choice = Circuit("servers")

    @property
    def circuits(self) -> Sequence[Circuit]:
        """Those of the servers that were called, behind one of the choice of them, which is never down."""
        return [self._choice, *(circuit for known in tuple(self._known.values()) for circuit in known.circuits)]

    def gave_up(self, reason: str) -> None:
        """Counts as a fault of the server that is being asked."""
        for known in tuple(self._known.values()):
            known.gave_up(reason)

    def servers(self, places: Sequence[Place], daemon_port: str, deadline: Deadline) -> list[Server]:
        """The servers at these places; raises CouldNotTell if there are none, or one is this host itself.

        `daemon_port` is the port at which this host's mail server took the client, if it is known.
        """
        own_ports = self._own_ports | ({int(daemon_port)} if daemon_port.isdecimal() else set())

        def is_ours(server: Server) -> bool:
            return server.port in own_ports and loop.is_this_host(server.ip)

        servers = found(places, lambda domain: self._mail_hosts(domain, deadline), is_ours)
        if ours := next(filter(is_ours, servers), None):
            raise CouldNotTell(f"loop: {ours} is this host, where it takes mail itself")
        return servers

    def answer(self, servers: Sequence[Server], question: Question, deadline: Deadline) -> Answer:
        """What the first of them says that answers; raises as `Endpoints.call` does."""
        by_address = {server.address: server for server in servers}
        key = tuple(by_address)
        while key not in self._known and len(self._known) >= _MAX_KNOWN:
            self._known.pop(next(iter(self._known)), None)
        endpoints = self._known.setdefault(key, Endpoints(key, keeps_order=True))
        tls_toward = self._tls_toward(servers, deadline)

        def ask(address: str, until: Deadline) -> Answer:
            server = by_address[address]
            return call(server, question, tls_toward(server), until)

        return endpoints.call(ask, deadline)

    @property
    def is_for_domains_only(self) -> bool:
        """Whether it can only call servers that MX records have named."""
        return self._tls.use is TlsUse.DANE

    def _tls_toward(self, servers: Sequence[Server], deadline: Deadline) -> Callable[[Server], Tls]:
        if self._tls.use is not TlsUse.DANE:
            return lambda _: self._tls
        from defang_worker.checks.callahead.dane import Dane  # noqa: PLC0415  # needs an extra

        return Dane(servers, self.require_resolver(), deadline).tls_toward

    def require_resolver(self) -> Resolver:
        """The resolver; raises ImportError if a package for it is missing."""
        from defang_worker.checks.dns.resolver import Resolver, shared_resolver  # noqa: PLC0415  # needs an extra

        given = self._resolver
        return given if isinstance(given, Resolver) else shared_resolver(given or ())

    def _mail_hosts(self, domain: str, deadline: Deadline) -> MailHosts:
        from defang_worker.checks.dns.mail_hosts import mail_hosts  # noqa: PLC0415  # needs an extra

        return mail_hosts(domain, self.require_resolver(), deadline)
