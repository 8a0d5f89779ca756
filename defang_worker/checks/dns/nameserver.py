# SPDX-License-Identifier: GPL-3.0-or-later
"""`Nameserver`: one that is asked, and whether it is there; and which ones this host is configured for."""

from __future__ import annotations

import ipaddress
from typing import Final

from defang_worker.checks.circuit import Circuit

__all__ = ["Nameserver", "configured", "is_configured_as_trusted"]

_RESOLV_CONF: Final = "/etc/resolv.conf"


class Nameserver:
    """Written as an address, 192.0.2.1 or 2001:db8::1, or with a port, 192.0.2.1:5353 or [2001:db8::1]:5353."""

    __slots__ = ("circuit", "host", "port")

    def __init__(self, address: str, port: int) -> None:
        host = address
        if address.startswith("[") or address.count(":") == 1:
            host, _, own_port = address.rpartition(":")
            host = host.removeprefix("[").removesuffix("]")
            port = int(own_port) if own_port.isascii() and own_port.isdigit() else 0
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"a nameserver is an address, or [address]:port, not {address!r}") from None
        if not 0 < port < 65536:
            raise ValueError(f"a nameserver's port is from 1 to 65535: {address!r}")
        self.host: Final = host
        self.port: Final = port
        self.circuit: Final = Circuit(f"nameserver {address}")

    @property
    def is_ipv6(self) -> bool:
        """Whether it is reached by IPv6."""
        return ":" in self.host

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this host, so that nobody can change what it says on the way."""
        return ipaddress.ip_address(self.host).is_loopback


def configured() -> list[str]:
    """The nameservers of /etc/resolv.conf; the one on this host if that names none, as its manual page says."""
    return [line[1] for line in _lines() if len(line) > 1 and line[0] == "nameserver"] or ["127.0.0.1"]


def is_configured_as_trusted() -> bool:
    """Whether /etc/resolv.conf says that the way to its nameservers is safe, by the option trust-ad."""
    return any(line[0] == "options" and "trust-ad" in line[1:] for line in _lines())


def _lines() -> list[list[str]]:
    try:
        with open(_RESOLV_CONF, encoding="utf-8", errors="replace") as lines:  # noqa: PTH123  # pathlib costs a start
            return [words for line in lines if (words := line.split())]
    except OSError:
        return []
