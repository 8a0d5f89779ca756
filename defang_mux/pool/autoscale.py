# SPDX-License-Identifier: GPL-3.0-or-later
"""How many workers the load of the last minutes wants (protocol.md, Autoscaling). Called by `policy`.

Beside the starts that requests cause by themselves: it starts workers before they are missed, and ends those that
are idle sooner than the idle timeout would.
"""

from enum import Enum, auto
from typing import Final

INTERVAL_S: Final = 15
# MIMEDefang's numbers, which its `autoscale` command tells.
SCALE_OUT: Final = 0.80
SCALE_IN: Final = 0.30
OUT_COOL_S: Final = 5
IN_COOL_S: Final = 30
EMA_ALPHA: Final = 0.25

_NEVER: Final = float("-inf")


class Step(Enum):
    """What is to be done: one worker more, or one less."""

    START = auto()
    END = auto()


class Autoscale:
    """The moving average of how busy the workers are, and when it was acted on last. Times are the pool's `now`."""

    __slots__ = ("_last_end_at", "ema_busy", "enabled", "next_check_at")

    def __init__(self, *, enabled: bool, now: float) -> None:
        self.enabled = enabled
        self.ema_busy = 0.0
        """Share of the running workers that are busy, averaged over some checks."""
        self.next_check_at = now + INTERVAL_S if enabled else float("inf")
        self._last_end_at = _NEVER

    def check(
        self, now: float, *, busy: int, running: int, least: int, most: int, last_start_at: float | None
    ) -> Step | None:
        """Takes the numbers of workers in, if a check is due, and says what follows; at most one step a check."""
        if now < self.next_check_at:
            return None
        self.next_check_at = now + INTERVAL_S
        share = busy / running if running else 0.0
        self.ema_busy += EMA_ALPHA * (share - self.ema_busy)
        since_start_s = float("inf") if last_start_at is None else now - last_start_at
        if self.ema_busy > SCALE_OUT and running < most and since_start_s > OUT_COOL_S:
            return Step.START
        if (
            self.ema_busy < SCALE_IN
            and running > least
            and since_start_s > IN_COOL_S
            and now - self._last_end_at > IN_COOL_S
        ):
            return Step.END
        return None

    def ended_one(self, now: float) -> None:
        """A worker was ended because of `Step.END`."""
        self._last_end_at = now
