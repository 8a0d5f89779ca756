# SPDX-License-Identifier: GPL-3.0-or-later
"""`Store`: where visits are remembered; `Visit` and `Terms`. Pure. `SqliteStore` is the usual one, for one host.

Another one, which several hosts share, has these four methods. Times are seconds since the epoch and come in, so that
all hosts and tests have one clock. An exception of any kind says that the store could not tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline

__all__ = ["Store", "Terms", "Visit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What is known under a key."""

    first_at: float
    latest_at: float
    count: int
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long a key is remembered: `young_life_s` from its first visit, and once it is `ripe_after_s` old, `life_s`
    from its latest one."""

    life_s: float
    ripe_after_s: float = 0.0
    young_life_s: float = 0.0

    def expires_at(self, first_at: float, now: float) -> float:
        """When a key is forgotten that is visited now."""
        # Visitors look at the clock before they have their turn: one may come after another that looked later.
        age_s = max(now - first_at, 0.0)
        return now + self.life_s if age_s >= self.ripe_after_s else first_at + self.young_life_s


class Store(Protocol):
    """Remembers visits by key."""

    def get(self, key: str, now: float, deadline: Deadline) -> Visit | None:
        """What is known; None if there is nothing, or it has expired."""

    def touch(self, key: str, now: float, terms: Terms, deadline: Deadline) -> tuple[Visit | None, Visit]:
        """Counts a visit, and gives what was known before it and after it. No two workers see the same "before"."""

    def expire(self, now: float, deadline: Deadline, *, at_most: int = 1000) -> int:
        """Forgets keys that have expired, no more than so many, for others wait meanwhile; tells how many."""

    def close(self) -> None:
        """Lets go of what it has open; it may be used again."""
