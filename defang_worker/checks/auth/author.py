# SPDX-License-Identifier: GPL-3.0-or-later
"""`author_domain`: the domain that a reader sees in From, for DMARC; `author_addresses`, with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import getaddresses
from typing import Final

__all__ = ["author_addresses", "author_domain"]

# Of hosts, and the underscore, which some have. With anything else, such as "example.com>" behind an open quote, there
# can be no policy, and a reader may see the domain without it.
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")


def author_addresses(fields: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The addresses in From; raises ValueError if there is not one From."""
    values = [value for name, value in fields if name.lower() == b"from"]
    if len(values) != 1:
        raise ValueError(f"{len(values)} From fields")
    text = " ".join(values[0].decode("utf-8", "replace").split())
    try:
        return [address for _, address in getaddresses([text]) if "@" in address]
    except RecursionError as fault:  # groups within groups
        raise ValueError("From is malformed") from fault


def author_domain(fields: Iterable[tuple[bytes, bytes]]) -> str:
    """In small letters, as the DNS has it; raises ValueError if there is not one From with one domain in it."""
    domains = {_ascii(address.rpartition("@")[2]) for address in author_addresses(fields)}
    if len(domains) != 1:
        raise ValueError(f"{len(domains)} domains in From")
    return domains.pop()


def _ascii(domain: str) -> str:
    """A domain with its A-labels; raises ValueError for what can be no domain."""
    domain = domain.lower().removesuffix(".")
    if not domain.isascii():
        domain = domain.encode("idna").decode("ascii")
    if not all(map(_LABEL.fullmatch, domain.split("."))):
        raise ValueError("From has no domain")
    return domain
