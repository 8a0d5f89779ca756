# SPDX-License-Identifier: GPL-3.0-or-later
"""How much was done lately: counters of each second for ten minutes and of each hour for a day.

The pool records, `reports` reads. Times are the pool's `now`; hours are the clock's full hours,
found from `epoch_offset_s`, what must be added to `now` to have the time of day.
"""

from dataclasses import dataclass
from typing import Final

from defang_mux.pool.state import COUNTED, Kind

SECONDS_KEPT: Final = 600
HOURS_KEPT: Final = 24
_HOUR_S: Final = 3600


@dataclass(slots=True)
class Sums:
    """What was counted over some time."""

    count: int = 0
    busy: int = 0
    """Sum of the numbers of busy workers, one at the end of each request."""
    seconds: float = 0.0

    def add(self, count: int, busy: int, seconds: float) -> None:
        """Adds one request or the sums of many."""
        self.count += count
        self.busy += busy
        self.seconds += seconds

    @property
    def mean_busy(self) -> float:
        """Mean number of busy workers at the end of a request; 0 if there was none."""
        return self.busy / self.count if self.count else 0.0

    @property
    def mean_ms(self) -> float:
        """Mean time of a request in milliseconds; 0 if there was none."""
        return 1000 * self.seconds / self.count if self.count else 0.0


@dataclass(slots=True)
class _Bucket(Sums):
    period: int = -1
    first: float = 0.0
    last: float = 0.0


class _Ring:
    """Sums of one kind for each of the last so many periods; old ones are overwritten."""

    __slots__ = ("_buckets", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._buckets = [_Bucket() for _ in range(size)]

    def at(self, period: int) -> _Bucket:
        bucket = self._buckets[period % self._size]
        if bucket.period != period:
            bucket = self._buckets[period % self._size] = _Bucket(period=period)
        return bucket

    def since(self, period: int) -> list[_Bucket]:
        return [bucket for bucket in self._buckets if bucket.count and bucket.period >= period]


class History:
    """Rings of counters, filled at the end of requests and at starts and ends of processes."""

    __slots__ = ("_activations", "_hours", "_reaps", "_seconds", "epoch_offset_s")

    def __init__(self, epoch_offset_s: float) -> None:
        self.epoch_offset_s = epoch_offset_s
        self._seconds = {kind: _Ring(SECONDS_KEPT) for kind in COUNTED}
        self._hours = {kind: _Ring(HOURS_KEPT) for kind in COUNTED}
        self._activations = _Ring(SECONDS_KEPT)
        self._reaps = _Ring(SECONDS_KEPT)

    def finished(self, kind: Kind, *, now: float, busy: int, seconds: float) -> None:
        """A request came to its end, well or not. Kinds outside `COUNTED` are not counted."""
        ring = self._seconds.get(kind)
        if ring is None:
            return
        ring.at(int(now)).add(1, busy, seconds)
        hour = self._hours[kind].at(self._hour(now))
        if not hour.count:
            hour.first = now
        hour.last = now
        hour.add(1, busy, seconds)

    def activated(self, now: float) -> None:
        """A process was started."""
        self._activations.at(int(now)).count += 1

    def reaped(self, now: float) -> None:
        """A process has ended."""
        self._reaps.at(int(now)).count += 1

    def recent(self, kind: Kind, *, now: float, seconds: int) -> Sums:
        """Sums over the current second and those before it, `seconds` of them in all."""
        return _total(self._seconds[kind].since(int(now) - seconds + 1))

    def recent_activations(self, *, now: float, seconds: int) -> int:
        """Processes started in that time."""
        return _total(self._activations.since(int(now) - seconds + 1)).count

    def recent_reaps(self, *, now: float, seconds: int) -> int:
        """Processes ended in that time."""
        return _total(self._reaps.since(int(now) - seconds + 1)).count

    def hourly(self, kind: Kind, *, now: float, hours: int) -> tuple[Sums, int]:
        """Sums over the current hour of the clock and those before it, and the seconds between first and last."""
        buckets = self._hours[kind].since(self._hour(now) - hours + 1)
        if not buckets:
            return Sums(), 0
        covered = max(bucket.last for bucket in buckets) - min(bucket.first for bucket in buckets)
        return _total(buckets), int(covered)

    def _hour(self, now: float) -> int:
        return int((now + self.epoch_offset_s) // _HOUR_S)


def _total(buckets: list[_Bucket]) -> Sums:
    total = Sums()
    for bucket in buckets:
        total.add(bucket.count, bucket.busy, bucket.seconds)
    return total
