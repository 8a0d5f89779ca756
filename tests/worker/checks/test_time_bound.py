# SPDX-License-Identifier: GPL-3.0-or-later
"""No message waits longer for its checks than it was told, and half a second: shown with a clock that the test moves.

What blocks, a socket or the wait for threads, does so here by moving the clock on by no more than it was allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from queue import Empty
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.checks import budget, crew
from defang_worker.checks.budget import Budget, Deadline
from defang_worker.checks.crew import Crew, Ended, Hung
from defang_worker.checks.endpoints import Endpoints
from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.stream import Stream

GRACE_S = 0.5


@dataclass
class Clock:
    """In the place of the module `time`."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class SlowSocket:
    """Says a byte after each of these pauses, in turn; a pause longer than its timeout is a timeout."""

    clock: Clock
    pauses_s: list[float]
    timeout_s: float = 0.0
    said: int = 0

    def settimeout(self, timeout_s: float) -> None:
        assert timeout_s > 0  # 0 would not wait, and less is refused
        self.timeout_s = timeout_s

    def recv(self, _size: int) -> bytes:
        pause_s = self.pauses_s[self.said % len(self.pauses_s)]
        self.said += 1
        self.clock.now += min(pause_s, self.timeout_s)
        if pause_s >= self.timeout_s:
            raise TimeoutError
        return b"x"

    def sendall(self, _data: bytes) -> None:
        self.recv(1)

    def close(self) -> None:
        pass


PAUSES = st.lists(st.floats(0.01, 100), min_size=1, max_size=5)


@given(PAUSES, st.floats(0.01, 20), st.integers(1, 3))
def test_service_that_talks_slowly_has_the_time_that_it_was_given(
    pauses_s: list[float], timeout_s: float, addresses: int
) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "time", clock)

        def ask(_address: str, deadline: Deadline) -> None:
            stream = Stream(SlowSocket(clock, pauses_s), deadline)  # type: ignore[arg-type]
            stream.send(b"what?")
            while True:
                stream.read_until(b"never", at_most=1 << 30)

        with pytest.raises((ServiceFault, TimeoutError)):
            Endpoints([f"/{number}" for number in range(addresses)]).call(ask, Deadline.after(timeout_s))
    assert clock.now <= 1000.0 + timeout_s + 1e-6


@dataclass
class Done:
    """The queue of answers: each comes at its time, if anybody waits for so long."""

    clock: Clock
    answers: list[tuple[float, int]] = field(default_factory=list)

    def get(self, timeout: float) -> tuple[int, Ended]:
        until = self.clock.now + timeout
        if self.answers and self.answers[0][0] <= until:
            at, number = self.answers.pop(0)
            self.clock.now = max(self.clock.now, at)
            return number, Ended(number, None, 0.0)
        self.clock.now = until
        raise Empty


class Hand:
    """A thread that may never end."""

    def give(self, *_: Any) -> None:
        pass

    def dismiss(self) -> None:
        pass

    def is_alive(self) -> bool:
        return True


@given(st.lists(st.tuples(st.floats(0.01, 50), st.none() | st.floats(0, 100)), min_size=1, max_size=6))
def test_nobody_waits_longer_than_the_last_limit_and_the_grace(jobs: list[tuple[float, float | None]]) -> None:
    """Each job has a limit, and answers at a time of its own, or never."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crew, "time", clock)
        answers = sorted((1000.0 + at, number) for number, (_, at) in enumerate(jobs) if at is not None)
        patch.setattr(crew, "SimpleQueue", lambda: Done(clock, answers))
        patch.setattr(Crew, "_hand", lambda _self: Hand())
        ended = Crew().run([(lambda: None, 1000.0 + limit_s) for limit_s, _ in jobs])
    assert clock.now <= 1000.0 + max(limit_s for limit_s, _ in jobs) + GRACE_S
    for one, (limit_s, at) in zip(ended, jobs, strict=True):
        if at is not None and at <= limit_s:
            assert isinstance(one, Ended)
        if at is None:
            assert isinstance(one, Hung)


@given(st.floats(0.1, 100), st.floats(0, 100), st.lists(st.floats(0.1, 1000), min_size=1))
def test_no_check_has_a_limit_beyond_the_budget(total_s: float, elapsed_s: float, timeouts_s: list[float]) -> None:
    one = Budget.of(total_s, now=1000.0, elapsed_s=elapsed_s)
    left_s = max(total_s - elapsed_s, 0.0)
    for timeout_s in timeouts_s:
        assert one.deadline(timeout_s, 1000.0).at <= 1000.0 + min(timeout_s, left_s) + 1e-6
