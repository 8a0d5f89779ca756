# SPDX-License-Identifier: GPL-3.0-or-later
"""Ticks: when they come, and that none stops the next. The clock jumps."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import trio
import trio.testing

from defang_mux.ticks import log_status, tick

LOG = logging.getLogger("defang.mux.test")


class Workers:
    """Takes seconds for each tick, and remembers when it began."""

    def __init__(self, takes_s: float = 0, answer: bytes = b"tock 3\n") -> None:
        self.begun: list[float] = []
        self.done = 0
        self._takes_s = takes_s
        self._answer = answer

    async def __call__(self, line: bytes) -> bytes:
        assert line == b"tick 3"
        self.begun.append(trio.current_time())
        await trio.sleep(self._takes_s)
        self.done += 1
        return self._answer


async def run(workers: Workers, seconds: float) -> list[float]:
    """When the ticks came, in seconds from the start."""
    began = trio.current_time()
    async with trio.open_nursery() as clients:
        with trio.move_on_after(seconds):
            await tick(3, interval_s=10, ask=workers, clients=clients, log=LOG)
    return [round(at - began) for at in workers.begun]


async def test_a_tick_comes_every_so_many_seconds(autojump_clock: trio.testing.MockClock) -> None:
    assert await run(Workers(), 35) == [10, 20, 30]


async def test_the_time_is_counted_from_the_end_of_the_last_one(autojump_clock: trio.testing.MockClock) -> None:
    assert await run(Workers(takes_s=7), 50) == [10, 27, 44]


async def test_a_stop_lets_a_tick_finish(autojump_clock: trio.testing.MockClock) -> None:
    workers = Workers(takes_s=7)
    await run(workers, 12)
    assert workers.done == 1


async def test_a_tick_that_fails_is_logged_and_the_next_one_comes(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert await run(Workers(answer=b"error: No free workers\n"), 25) == [10, 20]
    assert caplog.messages == ["Tick 3: error: No free workers"] * 2


async def test_status_is_logged_at_intervals(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nursery.start_soon(partial(log_status, lambda: "Worker status: ...", interval_s=5, log=logging.getLogger("test")))
    await trio.sleep(16)
    assert caplog.messages == ["Worker status: ..."] * 3
    nursery.cancel_scope.cancel()
