# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of the latest requests, and how many had which outcome since the start. Pure.

`crew` notes each request at its end; `transactions`, `health` and `metrics` read. Noting costs a tuple, so nothing is
decoded or cut here that is not asked for.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from defang_common.wire.state import STATE_MARK
from defang_mux.pool.state import Kind

MOST_KEPT: Final = 3000
"""Requests; with five for each message, the latest 600 messages."""

# Request and answer may carry 170 KB of a filter's state behind their words, and an answer RESULTS before it.
_MAX_LINE_BYTES: Final = 2048


class Outcome(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    """A worker's answer."""
    ERROR = "error"
    """A worker's answer that says it failed."""
    FAILED = "failed"
    """The worker died, hung, or talked nonsense."""
    REFUSED = "refused"
    """No worker was free, or the program stops."""
    POISON = "poison"
    """The message has cost workers before, and was given none."""


class Entry(NamedTuple):
    """One request. Times are the pool's `now`; `worker` is None if none had it, and then `began_at` means nothing.

    `said` is what the worker wrote to standard error meanwhile; it may grow a little after the end.
    """

    kind: Kind
    outcome: Outcome
    came_at: float
    began_at: float
    ended_at: float
    worker: int | None
    line: bytes
    reply: bytes
    said: list[str]


# Upper ends in seconds: from an answer out of the cache to a scan that nears the busy timeout.
BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass(slots=True)
class Histogram:
    """Durations in seconds, by upper end; the last count is of what was longer."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class Durations:
    """Of requests that a worker had: how long it took for them, and how long they had waited for it."""

    work: Histogram = field(default_factory=Histogram)
    wait: Histogram = field(default_factory=Histogram)


class Ledger:
    """A ring of entries, and sums. `durations` is None unless somebody will ask for them."""

    __slots__ = ("counts", "deaths", "durations", "filter_fault", "recent", "reread_fault", "timeouts", "tries_filter")

    def __init__(self, *, with_durations: bool = False) -> None:
        self.recent: deque[Entry] = deque(maxlen=MOST_KEPT)
        self.counts = {kind: dict.fromkeys(Outcome, 0) for kind in Kind}
        self.deaths = 0
        """Workers that ended without being told to."""
        self.timeouts = 0
        """Workers that were given up at the busy timeout."""
        self.reread_fault: str | None = None
        """Why the filter was not read anew at the latest try; None if it was, or nobody tried."""
        self.filter_fault: str | None = None
        """Why the filter cannot be loaded, so that there are no workers; None if it can, or nobody knows."""
        self.tries_filter = False
        """Whether a filter is loaded on trial before workers have it, as far as is known."""
        self.durations = {kind: Durations() for kind in Kind} if with_durations else None

    @property
    def scanned(self) -> int:
        """Scans that went well."""
        return self.counts[Kind.SCAN][Outcome.ANSWERED]

    def note(self, entry: Entry) -> None:
        """Takes the entry of a request that has ended."""
        if len(entry.line) > _MAX_LINE_BYTES or len(entry.reply) > _MAX_LINE_BYTES:
            entry = entry._replace(line=_cut(entry.line), reply=_cut(entry.reply))
        self.recent.append(entry)
        self.counts[entry.kind][entry.outcome] += 1
        if self.durations is not None and entry.worker is not None:
            durations = self.durations[entry.kind]
            durations.work.add(entry.ended_at - entry.began_at)
            durations.wait.add(entry.began_at - entry.came_at)


def _cut(line: bytes) -> bytes:
    # As a whole: cut in the midst, a state is none, and the line cannot be read.
    return line.partition(STATE_MARK)[0][:_MAX_LINE_BYTES] if len(line) > _MAX_LINE_BYTES else line


def outcome_of_answer(reply: bytes) -> Outcome:
    """What a worker's answer says of its success (protocol.md, Answers)."""
    return Outcome.ERROR if reply.startswith((b"error", b"ERR")) else Outcome.ANSWERED
