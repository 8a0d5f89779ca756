# SPDX-License-Identifier: GPL-3.0-or-later
"""The busy timeout of all workers by one timer."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from defang_mux.process.deadlines import Deadlines

TIMEOUT_S = 10.0


class One:
    """A worker that notes when it was interrupted."""

    def __init__(self) -> None:
        self.at: float | None = None

    def interrupt(self) -> None:
        assert self.at is None
        self.at = trio.current_time()


requests = st.lists(st.tuples(st.floats(0, 30), st.floats(0, 20)), max_size=20)


@given(gaps_and_durations=requests)
def test_who_takes_longer_is_interrupted_in_time_and_nobody_else(
    gaps_and_durations: list[tuple[float, float]],
) -> None:
    async def main() -> None:
        deadlines = Deadlines(TIMEOUT_S)
        interrupted: list[tuple[float, float | None]] = []

        async def ask(duration_s: float) -> None:
            one = One()
            began = trio.current_time()
            deadlines.begin(one, began)
            await trio.sleep(duration_s)
            deadlines.end(one)
            interrupted.append((duration_s, None if one.at is None else one.at - began))

        async with trio.open_nursery() as timer:
            timer.start_soon(deadlines.keep)
            async with trio.open_nursery() as clients:
                for gap_s, duration_s in gaps_and_durations:
                    await trio.sleep(gap_s)
                    clients.start_soon(ask, duration_s)
            timer.cancel_scope.cancel()
        assert len(interrupted) == len(gaps_and_durations)
        for duration_s, after_s in interrupted:
            if duration_s != TIMEOUT_S:
                assert after_s == (pytest.approx(TIMEOUT_S) if duration_s > TIMEOUT_S else None)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_idle_timer_wakes_once_a_timeout(autojump_clock: trio.testing.MockClock) -> None:
    deadlines = Deadlines(TIMEOUT_S)
    async with trio.open_nursery() as timer:
        timer.start_soon(deadlines.keep)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == pytest.approx(TIMEOUT_S)
        await trio.sleep(TIMEOUT_S / 2)
        one = One()
        deadlines.begin(one, trio.current_time())
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == pytest.approx(TIMEOUT_S / 2)
        timer.cancel_scope.cancel()
