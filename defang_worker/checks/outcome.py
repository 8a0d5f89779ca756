# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes of a check: `Outcome`, four words that are kept apart, and `CheckResult`, which each kind extends.

Pure. A result tells; what becomes of a message for it is the filter's affair, and that of the check's failure policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, StrEnum
from math import isfinite
from typing import Any, Final

__all__ = ["CheckResult", "Outcome"]


class Outcome(StrEnum):
    """What a check has to say; the value is the word in logs and records."""

    FOUND = "found"
    """What it looks for is there: a virus, spam, a listing, a failed authentication."""
    NOT_FOUND = "not-found"
    """It looked, and there is nothing."""
    NOT_APPLICABLE = "not-applicable"
    """There was nothing to look at: no signature, no address, no policy published."""
    UNKNOWN = "unknown"
    """It could not tell: the service is down, too slow, or answered with an error."""


_OWN_MEMBERS: Final = frozenset({"check", "outcome", "detail", "elapsed_s"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found. The kinds of checks add members of their own, all with a default for "nothing known"."""

    check: str
    """The check's name."""
    outcome: Outcome
    detail: str = ""
    """For people and logs: what was found, or why nothing can be told."""
    elapsed_s: float = 0.0
    """How long it took, the wait for a free thread included."""
    unchecked: str = ""
    """Why it could not tell of all, where it found something all the same: there may be more."""

    @property
    def is_found(self) -> bool:
        """Whether it found what it looks for."""
        return self.outcome is Outcome.FOUND

    @property
    def is_unknown(self) -> bool:
        """Whether it could not tell."""
        return self.outcome is Outcome.UNKNOWN

    @property
    def is_complete(self) -> bool:
        """Whether it could tell of all that it was asked about. Where not, the check's failure policy applies, even if
        something was found."""
        return not (self.is_unknown or self.unchecked)

    def as_record(self) -> dict[str, Any]:
        """The result for a message's JSON record: members of its own only where they say something.

        Of what JSON has no kind for, dataclasses and mappings are objects, and all else is text.
        """
        told: dict[str, Any] = {"check": self.check, "outcome": self.outcome.value}
        if self.detail:
            told["detail"] = self.detail
        for member in fields(self):
            if member.name in _OWN_MEMBERS:
                continue
            plain = _plain(getattr(self, member.name))
            if plain not in (None, "", [], {}):
                told[member.name] = plain
        told["elapsed_ms"] = round(self.elapsed_s * 1000, 3)
        return told


def _plain(value: object) -> Any:
    """The value in kinds that JSON has."""
    plain: Any
    match value:
        case Enum():
            plain = _plain(value.value)
        # JSON has no numbers for these.
        case float() if not isfinite(value):
            plain = str(value)
        case None | bool() | int() | float() | str():
            plain = value
        case CheckResult():
            plain = value.as_record()
        case bytes() | bytearray() | memoryview():
            plain = bytes(value).decode("utf-8", "surrogateescape")
        case Mapping():
            plain = {str(_plain(name)): _plain(one) for name, one in value.items()}
        case list() | tuple():
            plain = [_plain(one) for one in value]
        case set() | frozenset():
            plain = sorted((_plain(one) for one in value), key=repr)
        case _ if is_dataclass(value) and not isinstance(value, type):
            plain = {member.name: _plain(getattr(value, member.name)) for member in fields(value)}
        case _:
            plain = str(value)
    return plain
