# SPDX-License-Identifier: GPL-3.0-or-later
"""`is_in`: whether an address is one of those, or in one of the networks, that a setting names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

__all__ = ["is_in"]


def is_in(ip: str, networks: Iterable[str]) -> bool:
    """False for what is no address."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)
