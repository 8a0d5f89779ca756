# SPDX-License-Identifier: GPL-3.0-or-later
"""How long checks may take: `Budget`, which all checks of one message share, and `Deadline`, which one of them gets.

Pure but for the clock that a deadline is read by; times are those of `time.monotonic`, in seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

__all__ = ["Budget", "Deadline"]

# A request waits for a worker for 600 s at most (`defang-mux --queue-timeout`), and then the filter may take its time.
# What seems longer is a clock that was set.
_LONGEST_WAIT_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which a check has to be done."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """So many seconds from now."""
        return cls(time.monotonic() + seconds)

    def left_s(self, at_most: float | None = None) -> float:
        """What is left, for a socket's timeout, always more than 0; raises TimeoutError if it has passed.

        `at_most` is for steps with a limit of their own, such as connecting.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left if at_most is None else min(left, at_most)

    def sooner(self, seconds: float) -> Deadline:
        """This one, or so many seconds from now if that is sooner."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def part(self, share: float) -> Deadline:
        """When that share of what is left has gone, 0.5 being a half; there may be nothing left."""
        now = time.monotonic()
        return Deadline(now + max(0.0, self.at - now) * share)


@dataclass(frozen=True, slots=True)
class Budget:
    """The time that all checks of one message have together."""

    ends_at: float

    @classmethod
    def of(cls, total_s: float, *, now: float, elapsed_s: float = 0.0) -> Budget:
        """A budget that so much has gone of already, or all; a clock that was set back or far forward takes nothing of
        it."""
        gone_s = elapsed_s if 0 <= elapsed_s <= _LONGEST_WAIT_S else 0.0
        return cls(now + max(total_s - gone_s, 0.0))

    def deadline(self, timeout_s: float, now: float) -> Deadline:
        """When a check with this limit of its own has to be done."""
        return Deadline(min(self.ends_at, now + timeout_s))

    def is_spent(self, now: float) -> bool:
        """Whether nothing is left."""
        return now >= self.ends_at
