# SPDX-License-Identifier: GPL-3.0-or-later
"""`is_public`: may a host of the public Internet have this address? For names whose owners may be anybody. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

__all__ = ["is_public"]

# Translators lead these to the address of IPv4 in the last four bytes, which may be one within the site (RFC 6052).
_BY_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# RFC 4291, section 2.5.5.1.
_IPV4_COMPATIBLE: Final = ipaddress.ip_network("::/96")


def is_public(address: str) -> bool:
    """Whether an address is one of the public Internet, and leads to none within a site."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _BY_NAT64:
            return is_public(str(ipaddress.IPv4Address(ip.packed[-4:])))
        # To Python these old ones are like any other.
        if ip.is_site_local or ip in _IPV4_COMPATIBLE:
            return False
    return ip.is_global and not ip.is_multicast
