# SPDX-License-Identifier: GPL-3.0-or-later
"""The busy timeout: interrupts a worker that takes too long for a request. Called by `crew`."""

from typing import Protocol

import trio


class Interruptible(Protocol):
    """What a deadline needs of a worker."""

    def interrupt(self) -> None:
        """Has nobody wait for its answer any more."""


class Deadlines:
    """One timer for all workers, each of which has `timeout_s` for its request.

    As all have the same time, who began first is due first, and what begins while the timer runs is due behind its
    end: nothing has to be set, or put in order, for a request.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._due: dict[Interruptible, float] = {}

    def begin(self, worker: Interruptible, now: float) -> None:
        """It has a request from `now` on."""
        self._due[worker] = now + self._timeout_s

    def end(self, worker: Interruptible) -> None:
        """It has none any more; nothing happens if it was interrupted."""
        self._due.pop(worker, None)

    async def keep(self) -> None:
        """Interrupts those that are due, for ever."""
        while True:
            now = trio.current_time()
            for worker in [worker for worker, at in self._due.items() if at <= now]:
                del self._due[worker]
                worker.interrupt()
            await trio.sleep_until(min(self._due.values(), default=now + self._timeout_s))
