# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom to call: `Place`, as a filter names it, and the `Server`s that are there, each with one address.

Names are looked up as the system does it, so that /etc/hosts counts; MX records by the resolver of the DNS checks.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from defang_worker.checks.faults import CouldNotTell, ServiceDown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from defang_worker.checks.dns.mail_hosts import MailHosts

__all__ = ["Place", "Server", "found", "place"]

_PORT: Final = 25
_MX: Final = "mx:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host, or the hosts that take mail for a domain."""

    name: str
    """The host's name or address, or the domain."""
    port: int = _PORT
    is_domain: bool = False
    """Whether the hosts are to be found by the domain's MX records."""

    def __str__(self) -> str:
        return f"{_MX if self.is_domain else ''}{_joined(self.name, self.port)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One address of a host."""

    name: str
    """The host's name, for which its certificate has to be; its address if it was given by that."""
    ip: str
    port: int = _PORT
    domain: str = ""
    """The domain whose MX records named it, if it was found so."""

    @property
    def address(self) -> str:
        """As `Stream.connect` takes it."""
        return _joined(self.ip, self.port)

    def __str__(self) -> str:
        return self.address if self.name == self.ip else f"{self.name} ({self.address})"


def place(text: str) -> Place:
    """Reads host, host:port, an address, [address]:port, or mx:domain; raises ValueError. Brackets around a host, as
    Sendmail's tables have them, say nothing here."""
    rest = text.strip()
    is_domain = rest.startswith(_MX)
    rest = rest.removeprefix(_MX)
    port = ""
    if rest.startswith("["):
        name, bracket, behind = rest[1:].partition("]")
        port = behind.removeprefix(":")
        is_wrong = not bracket or bool(behind) != behind.startswith(":") or (bool(behind) and not port)
    elif rest.count(":") == 1:
        name, _, port = rest.partition(":")
        is_wrong = not port
    else:
        name = rest
        is_wrong = ":" in name and not _is_address(name)
    if is_wrong or not _is_name(name) or (is_domain and _is_address(name)):
        raise ValueError(f"a server is host:port, an address, or mx:domain, not {text!r}")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"no port: {text!r}")
    return Place(name=name.rstrip("."), port=int(port or _PORT), is_domain=is_domain)


def found(
    places: Sequence[Place], mail_hosts: Callable[[str], MailHosts], is_ours: Callable[[Server], bool]
) -> list[Server]:
    """The servers at these places, each once, in their order; raises CouldNotTell if none can be found.

    Of a domain those are left out that are no better than this host itself, if it is one of them (RFC 5321, section
    5.1): their mail would come back.
    """
    servers: dict[str, Server] = {}
    reasons: list[str] = []
    for one in places:
        try:
            for server in _of_domain(one, mail_hosts, is_ours) if one.is_domain else _of_host(one):
                servers.setdefault(server.address, server)
        except CouldNotTell as fault:
            reasons.append(str(fault))
    if not servers:
        raise CouldNotTell("; ".join(reasons))
    return list(servers.values())


def _of_host(one: Place) -> Iterator[Server]:
    try:
        told = socket.getaddrinfo(one.name, one.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as fault:
        raise ServiceDown(f"{one.name}: {getattr(fault, 'strerror', None) or fault}") from fault
    for _, _, _, _, address in told:
        yield Server(name=one.name, ip=str(address[0]), port=one.port)


def _of_domain(
    one: Place, mail_hosts: Callable[[str], MailHosts], is_ours: Callable[[Server], bool]
) -> Iterator[Server]:
    told = mail_hosts(one.name)
    by_preference = [
        (host.preference, Server(name=host.name, ip=ip, port=one.port, domain=one.name))
        for host in told.hosts
        for ip in host.addresses
    ]
    if not by_preference:
        raise CouldNotTell(f"{one.name} {'takes no mail' if told.is_null else 'has no mail host with an address'}")
    ours = min((preference for preference, server in by_preference if is_ours(server)), default=None)
    better = [server for preference, server in by_preference if ours is None or preference < ours]
    if not better:
        raise CouldNotTell(f"loop: the mail host of {one.name} is this one")
    yield from better


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_name(name: str) -> bool:
    return name.isascii() and name.isprintable() and bool(name.strip(".")) and not set(name) & set("/ []<>@")
