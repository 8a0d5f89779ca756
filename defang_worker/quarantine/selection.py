# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries a command is about: those named, or those that are like what was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from defang_worker.quarantine.entries import entries, entry

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from defang_worker.quarantine.entries import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is asked for; what is None or empty does not matter."""

    names: tuple[str, ...] = ()
    older_than_s: int | None = None
    newer_than_s: int | None = None
    sender: str | None = None
    recipient: str | None = None
    reason: str | None = None

    @classmethod
    def of(cls, args: argparse.Namespace) -> Selection:
        """What the command line asks for."""
        return cls(
            names=tuple(args.names),
            older_than_s=args.older_than,
            newer_than_s=args.newer_than,
            sender=args.sender,
            recipient=args.recipient,
            reason=args.reason,
        )

    @property
    def is_all(self) -> bool:
        """Whether everything is meant."""
        return self == Selection()

    def found(self, directory: str) -> Iterator[Entry]:
        """The entries, the oldest first; raises NoEntry for a name that is none."""
        chosen = [entry(directory, name) for name in self.names] if self.names else entries(directory)
        now = datetime.now(UTC)
        return (one for one in chosen if self._has(one, (now - one.time).total_seconds()))

    def _has(self, one: Entry, age_s: float) -> bool:
        # The age is in the name; the rest has to be read.
        if self.older_than_s is not None and age_s < self.older_than_s:
            return False
        if self.newer_than_s is not None and age_s > self.newer_than_s:
            return False
        if self.sender is None and self.recipient is None and self.reason is None:
            return True
        facts = one.facts
        return (
            (self.sender is None or _is_like(facts["sender"], self.sender))
            and (self.recipient is None or any(_is_like(each, self.recipient) for each in facts["recipients"]))
            and (self.reason is None or any(self.reason.lower() in each.lower() for each in facts["reasons"]))
        )


def _is_like(address: str, pattern: str) -> bool:
    return fnmatchcase(address.lower(), pattern.lower())
