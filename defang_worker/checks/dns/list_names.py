# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which name a list in the DNS has an address, a domain, or the hash of a mail address. Pure."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from typing import Final, Literal

__all__ = ["Encoding", "Hash", "hashed", "normalized", "reversed_address"]

Hash = Literal["md5", "sha1", "sha256"]
Encoding = Literal["hex", "base32"]

_GMAIL: Final = frozenset({"gmail.com", "googlemail.com"})


def reversed_address(address: str) -> str:
    """4.3.2.1, or the 32 digits of IPv6, last first (RFC 5782, sections 2.1 and 2.4); raises ValueError.

    An IPv4 address that came as one of IPv6 is an IPv4 address.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return ".".join(reversed(ip.exploded.replace(":", "")))
        ip = ip.ipv4_mapped
    return ".".join(reversed(str(ip).split(".")))


def normalized(address: str) -> str:
    """A mail address as those lists hash it that want one hash for all spellings of a mailbox: in small letters,
    without what follows a plus sign, and Gmail's without the dots that Gmail ignores."""
    local, _, domain = address.strip().removeprefix("<").removesuffix(">").strip().lower().rpartition("@")
    local = local.partition("+")[0] or local
    if domain in _GMAIL:
        local, domain = local.replace(".", ""), "gmail.com"
    return f"{local}@{domain}"


def hashed(address: str, algorithm: Hash = "sha1", encoding: Encoding = "hex") -> str:
    """The hash of a text as a label of a domain name: hexadecimal, or base32 without its padding."""
    digest = hashlib.new(algorithm, address.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    return digest.hex() if encoding == "hex" else base64.b32encode(digest).decode().rstrip("=").lower()
