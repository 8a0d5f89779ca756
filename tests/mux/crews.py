# SPDX-License-Identifier: GPL-3.0-or-later
"""A crew with workers in memory, and what its tests do with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Limits
from defang_mux.process.crew import Crew
from tests.mux.conftest import FakeProcess, FakeTemplate

SCAN = b"scan Q1 /spool/mdefang-Q1"
LOG = logging.getLogger("defang.mux.test")

Make = Callable[..., Crew]


class Client:
    """Asks in a task of its own; `reply` is None until there is one, which came at `at`."""

    def __init__(self, crew: Crew, nursery: trio.Nursery, line: bytes = SCAN) -> None:
        self.reply: bytes | None = None
        self.at = 0.0

        async def ask() -> None:
            self.reply = await crew.answer(line)
            self.at = trio.current_time()

        nursery.start_soon(ask)


def limits(**changed: Any) -> Limits:
    """Those of a small pool, but for what is given."""
    usual = {
        "min_workers": 1,
        "max_workers": 2,
        "max_requests": 500,
        "idle_timeout_s": 300,
        "start_interval_s": 3,
        "activation_interval_s": 0,
        "queue_size": 10,
        "queue_timeout_s": 30,
    }
    return Limits(**(usual | changed))


def pool_of(crew: Crew) -> Pool:
    pool: Pool = crew._pool
    return pool


def die(crew: Crew, one: FakeProcess | FakeTemplate, status: int = 1) -> None:
    one.exit(status)
    crew.reap()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def answer(process: FakeProcess, with_: bytes = b"ok\n") -> bytes:
    line = await process.read_line()
    process.say(with_)
    await settle()
    return line
