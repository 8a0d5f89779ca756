# SPDX-License-Identifier: GPL-3.0-or-later
"""`Crew`: threads that run the jobs of checks side by side, while the worker waits no longer than it was told to.

A thread whose job outlasts its limit is left to itself: what it brings later reaches nobody, and it ends then. Threads
are started when first needed, kept for the next message, and never hold up the end of the process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

__all__ = ["CREW", "Crew", "Ended", "Hung"]

# Jobs keep their deadlines by themselves, and then can tell what went wrong; this much later nobody waits any more.
_GRACE_S: Final = 0.25
# Jobs that hang have sockets and memory. With so many of them something is wrong that more threads do not better.
_MAX_HUNG: Final = 32

_Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that ended: with a value, or with what it raised."""

    value: object
    fault: BaseException | None
    took_s: float


@dataclass(frozen=True, slots=True)
class Hung:
    """A job that did not end in time, or that was not begun because too many others hang."""

    is_begun: bool
    took_s: float


class _Hand(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="defang-check", daemon=True)
        self._tasks: SimpleQueue[tuple[_Call, int, SimpleQueue[tuple[int, Ended]]] | None] = SimpleQueue()

    def give(self, call: _Call, number: int, done: SimpleQueue[tuple[int, Ended]]) -> None:
        self._tasks.put((call, number, done))

    def dismiss(self) -> None:
        """Has it end when it has done what it was given."""
        self._tasks.put(None)

    def run(self) -> None:
        while task := self._tasks.get():
            call, number, done = task
            done.put((number, _ended(call)))
            # A thread that waits for its next task must not keep a message's bytes alive.
            del task, call, done


def _ended(call: _Call) -> Ended:
    started = time.monotonic()
    try:
        value, fault = call(), None
    # The border of the thread: whatever it was, who asked decides what it means.
    except BaseException as raised:  # noqa: BLE001
        value, fault = None, raised
    return Ended(value, fault, time.monotonic() - started)


class Crew:
    """Threads for jobs; used by one thread of the worker at a time."""

    def __init__(self) -> None:
        self._idle: list[_Hand] = []
        self._hung: list[_Hand] = []

    def run(self, calls: Sequence[tuple[_Call, float]]) -> list[Ended | Hung]:
        """Runs all calls side by side, each until its limit (of `time.monotonic`) and a little grace; what came of
        each, in their order."""
        done: SimpleQueue[tuple[int, Ended]] = SimpleQueue()
        started = time.monotonic()
        hands: dict[int, _Hand] = {}
        self._hung = [hand for hand in self._hung if hand.is_alive()]
        for number, (call, _) in enumerate(calls):
            if self._idle or len(self._hung) < _MAX_HUNG:
                hands[number] = self._hand()
                hands[number].give(call, number, done)
        ended = self._gathered(done, hands, [limit for _, limit in calls])
        took_s = time.monotonic() - started
        return [ended.get(number) or Hung(number in hands, took_s) for number in range(len(calls))]

    def _hand(self) -> _Hand:
        if self._idle:
            return self._idle.pop()
        hand = _Hand()
        hand.start()
        return hand

    def _gathered(
        self, done: SimpleQueue[tuple[int, Ended]], hands: dict[int, _Hand], limits: list[float]
    ) -> dict[int, Ended]:
        ended: dict[int, Ended] = {}
        waited_for = set(hands)
        while waited_for:
            last = max(limits[number] for number in waited_for) + _GRACE_S
            try:
                number, one = done.get(timeout=max(0.0, last - time.monotonic()))
            except Empty:
                break
            ended[number] = one
            waited_for.remove(number)
            self._idle.append(hands[number])
        for number in waited_for:
            hands[number].dismiss()
            self._hung.append(hands[number])
        return ended


CREW: Final = Crew()
"""The worker's own."""


def _forget() -> None:
    # A forked child has none of the threads.
    CREW.__init__()  # type: ignore[misc]  # the same object, for it has been imported


os.register_at_fork(after_in_child=_forget)
