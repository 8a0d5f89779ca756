# SPDX-License-Identifier: GPL-3.0-or-later
"""`matches`: is a host meant by a name that may begin with `*.`, in a certificate or a policy? Pure."""

from __future__ import annotations

__all__ = ["matches"]


def matches(pattern: str, host: str) -> bool:
    """Whether they are the same name, in any letters, where `*` is exactly one label, the first (RFC 8461, section 4.1,
    RFC 6125, section 6.4.3)."""
    pattern, host = pattern.lower().removesuffix("."), host.lower().removesuffix(".")
    if not host or not pattern:
        return False
    if not pattern.startswith("*."):
        return pattern == host
    first, _, rest = host.partition(".")
    return bool(first) and rest == pattern[2:] and bool(rest)
