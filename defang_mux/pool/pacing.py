# SPDX-License-Identifier: GPL-3.0-or-later
"""When a worker may be started: the interval between starts, and the throttle for workers that die at once.

A part of `policy`, which tells it what happened and asks it before each start.
"""

from typing import Final

# A worker that dies before its first answer will most likely do so again: the filter does not load. From a number of
# such deaths in a row on, the next start waits for a second, and each further one doubles that, so that the log and the
# processor are left in peace. As many as there may be workers are free: each may have met a message that kills.
_FIRST_DELAY_S: Final = 1.0
_MAX_DELAY_S: Final = 60.0
# Enough doublings to reach the longest delay, and no number that overflows.
_MAX_DOUBLINGS: Final = 10


class Pacing:
    """`not_before` is when the next start is allowed, in the pool's time."""

    __slots__ = ("_early_deaths", "_free_deaths", "_free_starts", "_interval_s", "not_before")

    def __init__(self, interval_s: float, *, free_deaths: int, now: float) -> None:
        self._interval_s = interval_s
        self._free_deaths = free_deaths
        self.not_before = now
        # In a row, that is since the last answer.
        self._early_deaths = 0
        # Starts that need not wait for the interval.
        self._free_starts = 0

    @property
    def delays(self) -> int:
        """How many starts in a row have been delayed because of early deaths."""
        return max(0, self._early_deaths - self._free_deaths)

    def may_start(self, now: float) -> bool:
        """Whether a worker may be started."""
        return now >= self.not_before

    def started(self, now: float) -> None:
        """A worker was started."""
        if self._free_starts:
            self._free_starts -= 1
        else:
            self.not_before = now + self._interval_s

    def died_early(self, now: float) -> None:
        """A worker died before its first answer."""
        self._early_deaths += 1
        if self.delays:
            delay_s = _FIRST_DELAY_S * 2.0 ** min(self.delays - 1, _MAX_DOUBLINGS)
            self.not_before = max(self.not_before, now + min(delay_s, _MAX_DELAY_S))

    def not_started(self, now: float) -> None:
        """A start failed. No message can be the cause, so not even the first one is free."""
        if self.delays and now < self.not_before:
            # One fault has ended several starts that were under way.
            return
        self._early_deaths = max(self._early_deaths, self._free_deaths)
        self.died_early(now)

    def answered(self) -> None:
        """A worker has answered: they live."""
        self._early_deaths = 0

    def forgive(self, now: float, *, starts: int) -> None:
        """Somebody may have mended the filter: the next start is allowed at once, and as many `starts` behind it."""
        self._early_deaths = 0
        self._free_starts = starts
        self.not_before = now
