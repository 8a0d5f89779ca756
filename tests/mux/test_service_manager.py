# SPDX-License-Identifier: GPL-3.0-or-later
"""The signs of life of the event loop, and the status where it changes."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from defang_common.host import notify
from defang_mux import service_manager
from defang_mux.pool.ledger import Ledger
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Kind, Limits, Ticket


def pool() -> Pool:
    limits = Limits(
        min_workers=1, max_workers=2, max_requests=500, idle_timeout_s=300, start_interval_s=3,
        activation_interval_s=0, queue_size=4, queue_timeout_s=30,
    )  # fmt: skip
    return Pool(limits, now=0, epoch_offset_s=0)


async def test_watchdog_is_fed_in_its_interval_and_status_told_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    signs: list[float] = []
    texts: list[str] = []
    monkeypatch.setattr(notify, "watchdog_interval_s", lambda: 4.0)
    monkeypatch.setattr(notify, "alive", lambda: signs.append(trio.current_time()))
    began = trio.current_time()
    with trio.move_on_after(9):
        await service_manager.keep_informed(pool(), Ledger(), texts.append)
    assert [sign - began for sign in signs] == [0, 4, 8]
    assert texts == ["0 of 2 workers busy, 0 running, 0 queued, 0 messages"]


async def test_change_is_told_and_no_watchdog_fed_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    texts: list[str] = []
    signs: list[None] = []
    monkeypatch.setattr(notify, "watchdog_interval_s", lambda: None)
    monkeypatch.setattr(notify, "alive", lambda: signs.append(None))
    watched, ledger = pool(), Ledger()
    with trio.move_on_after(25):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service_manager.keep_informed, watched, ledger, texts.append)
            await trio.sleep(5)
            watched.submit(Ticket(line=b"scan Q1 /d", kind=Kind.SCAN), 5)
            await trio.sleep(10)
            ledger.filter_fault = "/f.py:7: NameError\nTraceback"
    assert signs == []
    workers = "1 of 2 workers busy, 1 running, 0 queued, 0 messages"
    fault = "the filter cannot be loaded: /f.py:7: NameError"
    assert texts[1:] == [workers, f"All mail is put off: {fault}; {workers}"]
