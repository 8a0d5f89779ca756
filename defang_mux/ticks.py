# SPDX-License-Identifier: GPL-3.0-or-later
"""Ticks: every so many seconds a worker is told to do the filter's periodic work (protocol.md, Ticks).

Each kind is a task of its own, started by `supervisor`. What asks a worker is given.
"""

from collections.abc import Awaitable, Callable
from logging import Logger

import trio

Ask = Callable[[bytes], Awaitable[bytes]]


async def tick(kind: int, *, interval_s: float, ask: Ask, clients: trio.Nursery, log: Logger) -> None:
    """Ticks for ever, the interval being counted from the end of the last one.

    The work is a task of `clients`, so that a stop of this one leaves it its time.
    """

    async def work(done: trio.Event) -> None:
        reply = await ask(b"tick %d" % kind)
        if not reply.startswith(b"tock "):
            log.warning("Tick %d: %s", kind, reply.decode("ascii", "backslashreplace").strip())
        done.set()

    while True:
        await trio.sleep(interval_s)
        done = trio.Event()
        clients.start_soon(work, done)
        await done.wait()
