# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes of a check: `Outcome`, four words that are kept apart, and `CheckResult`, which each kind extends.

Pure. A result tells; what becomes of a message for it is the filter's affair, and that of the check's failure policy.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
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

    @property
    def is_found(self) -> bool:
        """Whether it found what it looks for."""
        return self.outcome is Outcome.FOUND

    @property
    def is_unknown(self) -> bool:
        """Whether it could not tell."""
        return self.outcome is Outcome.UNKNOWN

    def as_record(self) -> dict[str, Any]:
        """The result for a message's JSON record: members of its own only where they say something."""
        told: dict[str, Any] = {"check": self.check, "outcome": self.outcome.value}
        if self.detail:
            told["detail"] = self.detail
        for member in fields(self):
            value = getattr(self, member.name)
            if member.name not in _OWN_MEMBERS and value not in (None, "", (), [], {}):
                told[member.name] = value
        told["elapsed_ms"] = round(self.elapsed_s * 1000, 3)
        return told
