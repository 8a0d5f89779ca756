# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a call from coming back: who calls itself, and is asked by itself, would call for ever.

Three things tell: a server that is this host at a port where it takes mail; one that greets with our own name; and a
mark in MAIL, by which another filter (or this one, behind other servers) sees that it is being called, and how deep.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_DEPTH", "depth_of", "is_this_host", "mark", "same_address"]

MAX_DEPTH: Final = 4
"""So many servers may ask one another in turn; more are taken for a loop."""
# RFC 3461, section 4.4: an envelope ID goes through servers as it is, and means nothing to them.
_MARK: Final = re.compile(r"ENVID=defang-call-ahead-(\d{1,3})", re.IGNORECASE)


def mark(depth: int) -> str:
    """The parameter of MAIL that marks a call; the first has depth 1."""
    return f"ENVID=defang-call-ahead-{depth}"


def depth_of(sender_args: Sequence[str]) -> int:
    """The depth of the call as which this transaction comes; 0 if it is none."""
    return max((int(match[1]) for match in map(_MARK.fullmatch, sender_args) if match), default=0)


def same_address(one: str, other: str) -> bool:
    """Whether two texts are one IP address; no, if either is none."""
    try:
        return _address(one) == _address(other)
    except ValueError:
        return False


def is_this_host(ip: str) -> bool:
    """Whether this host has the address, going by its routes; nothing is sent."""
    address = _address(ip)
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False
        return same_address(str(probe.getsockname()[0]), str(address))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
