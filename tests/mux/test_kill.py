# SPDX-License-Identifier: GPL-3.0-or-later
"""The ladder: which signal when, and where it ends."""

from __future__ import annotations

import signal
from signal import SIGCONT, SIGKILL, SIGTERM

import pytest
import trio
import trio.testing

from defang_mux.process.kill import Patience, end_worker

PATIENCE = Patience(stop_grace_s=10, kill_grace_s=7)
HANG_UP = "hang up"


class Victim:
    def __init__(self) -> None:
        self.gone = trio.Event()
        self.steps: list[tuple[float, signal.Signals | str]] = []
        self.began = trio.current_time()

    def note(self, step: signal.Signals | str) -> None:
        self.steps.append((trio.current_time() - self.began, step))

    async def end(self, *, busy: bool) -> None:
        await end_worker(
            hang_up=lambda: self.note(HANG_UP),
            gone=self.gone,
            busy=busy,
            patience=PATIENCE,
            send=self.note,
        )


async def test_idle_worker_gets_end_of_input_then_term_then_kill(autojump_clock: trio.testing.MockClock) -> None:
    victim = Victim()
    await victim.end(busy=False)
    assert victim.steps == [(0, SIGCONT), (0, HANG_UP), (10, SIGCONT), (10, SIGTERM), (17, SIGCONT), (17, SIGKILL)]


async def test_busy_worker_gets_term_at_once(autojump_clock: trio.testing.MockClock) -> None:
    victim = Victim()
    await victim.end(busy=True)
    assert victim.steps == [(0, SIGCONT), (0, SIGTERM), (0, HANG_UP), (7, SIGCONT), (7, SIGKILL)]


@pytest.mark.parametrize(("after_s", "busy", "steps"), [(3, False, 2), (12, False, 4), (3, True, 3)])
async def test_ladder_ends_where_the_worker_does(
    after_s: float, busy: bool, steps: int, autojump_clock: trio.testing.MockClock
) -> None:
    victim = Victim()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: victim.end(busy=busy))
        await trio.sleep(after_s)
        victim.gone.set()
    assert len(victim.steps) == steps
    assert trio.current_time() - victim.began == after_s


async def test_canceling_does_not_stop_the_ladder(autojump_clock: trio.testing.MockClock) -> None:
    victim = Victim()
    with trio.move_on_after(1):
        await victim.end(busy=True)
    assert victim.steps[-1] == (7, SIGKILL)
