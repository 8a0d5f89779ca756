# SPDX-License-Identifier: GPL-3.0-or-later
"""`StsPolicy`: which hosts take a domain's mail, and whether only by TLS with a valid certificate (RFC 8461). Pure.

Also `policy_id`, of the DNS record that says that there is a policy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from defang_worker.checks.tls.names import matches

__all__ = ["MalformedPolicy", "StsMode", "StsPolicy", "policy_id"]

# Section 3.2: a year, more or less.
_MAX_AGE_S: Final = 31_557_600
_RECORD_START: Final = re.compile(rb"v=STSv1[ \t]*;")
_ID: Final = re.compile(r"[0-9A-Za-z]{1,32}")
_AGE: Final = re.compile(r"[0-9]{1,10}")
_LABEL: Final = r"[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
_MX: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_FIELD_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,31}")
_MAX_NAME_CHARS: Final = 255


class MalformedPolicy(ValueError):
    """What should be a policy is none."""


class StsMode(StrEnum):
    """What is to become of mail for which there is no host that the policy allows."""

    ENFORCE = "enforce"
    """It is not to be delivered there."""
    TESTING = "testing"
    """It is delivered, and the domain wants to hear of it."""
    NONE = "none"
    """The domain has no policy any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StsPolicy:
    """A domain's policy."""

    mode: StsMode
    max_age_s: int
    """For how long it holds, from when it was fetched."""
    mx: tuple[str, ...] = ()
    """Names of the hosts; `*.` at the beginning stands for one label."""

    def allows(self, host: str) -> bool:
        """Whether mail may go to this host, by its name; not whether its certificate is valid."""
        return any(matches(pattern, host) for pattern in self.mx)

    @classmethod
    def of(cls, text: bytes) -> StsPolicy:
        """The policy in a text; raises MalformedPolicy."""
        fields = _fields(text)
        first = {name: value for name, value in reversed(fields) if name != "mx"}
        patterns = tuple(value.lower() for name, value in fields if name == "mx")
        if first.get("version") != "STSv1":
            raise MalformedPolicy("no version")
        if first.get("mode") not in {*StsMode}:
            raise MalformedPolicy("no mode")
        if not _AGE.fullmatch(first.get("max_age", "")):
            raise MalformedPolicy("no max_age")
        if not all(_MX.fullmatch(one) and len(one) <= _MAX_NAME_CHARS for one in patterns):
            raise MalformedPolicy("an mx is no name")
        mode = StsMode(first["mode"])
        if mode is not StsMode.NONE and not patterns:
            raise MalformedPolicy("no mx")
        return cls(mode=mode, max_age_s=min(int(first["max_age"]), _MAX_AGE_S), mx=tuple(dict.fromkeys(patterns)))


def _fields(text: bytes) -> list[tuple[str, str]]:
    try:
        lines = text.decode("utf-8").split("\n")
    except UnicodeDecodeError as fault:
        raise MalformedPolicy("not UTF-8") from fault
    fields = []
    for line in lines:
        line = line.removesuffix("\r")  # noqa: PLW2901  # lines end in LF or CRLF
        if not line.strip(" \t"):
            continue
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        if not colon or not _FIELD_NAME.fullmatch(name):
            raise MalformedPolicy("a line is no field")
        fields.append((name, value.strip(" \t")))
    return fields


def policy_id(texts: Sequence[bytes]) -> str | None:
    """The id in the one record for MTA-STS among the texts of a name; None if there is none, or several, or it is
    malformed: then a policy is not to be fetched (section 3.1)."""
    found = [text for text in texts if _RECORD_START.match(text)]
    if len(found) != 1:
        return None
    pieces = [piece.strip(" \t") for piece in found[0].decode("utf-8", "replace").split(";")]
    for piece in pieces[1:]:
        name, _, value = piece.partition("=")
        if name == "id":
            return value if _ID.fullmatch(value) else None
    return None
