# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done every so many seconds: ticks for the filter's periodic work (protocol.md, Ticks), and lines in the log.

Each is a task of its own, started by `supervisor` if an option asks for it. What asks a worker is given.
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


async def log_status(report: Callable[[], str], *, interval_s: float, log: Logger) -> None:
    """Logs the report at intervals, for ever."""
    while True:
        await trio.sleep(interval_s)
        log.info("%s", report())
