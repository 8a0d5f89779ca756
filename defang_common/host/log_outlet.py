# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between a program and a log that may not take its lines: a bounded queue, and a thread that empties it.

A logger that hangs, a full socket or a pipe that nobody reads stops the thread, and nobody else. What does not fit is
lost, counted, and told as soon as lines go through again. Called by `logs`, and by workers for a site's own lines.
"""

import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

Entry = TypeVar("Entry")

MAX_WAITING_CHARACTERS: Final = 1024 * 1024
"""So much waits: minutes of a busy service's lines, and little beside what its workers take."""

FLUSH_LIMIT_S: Final = 2.0
"""So long a program that ends waits for its last lines to be taken: a log that works needs milliseconds."""


class Outlet(Generic[Entry]):
    """Hands entries to `write` in the order in which they were put, in a thread of its own.

    An entry that `write` fails for (with any exception) is lost. `notice` makes an entry that tells how many are.
    `end`, if given, is called by the thread when it ends. Only one thread at a time may put.
    """

    # Each number is changed by one side alone, so that a line costs no lock but the queue's own.

    def __init__(
        self, write: Callable[[Entry], None], notice: Callable[[int], Entry], end: Callable[[], None] | None = None
    ) -> None:
        self._write = write
        self._notice = notice
        self._end = end
        # An entry with its size, and how many had been dropped before it.
        self._waiting: SimpleQueue[tuple[Entry, int, int] | threading.Event | None] = SimpleQueue()
        self._characters_put = 0
        self._dropped = 0
        self._characters_taken = 0
        self._dropped_and_told = 0
        self._failed = 0
        # Signals are for threads that know what to do about them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            threading.Thread(target=self._run, name="log", daemon=True).start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def put(self, entry: Entry, characters: int) -> None:
        """Has the entry, of that size, written soon, or counts it as lost; does not wait for anything."""
        waiting = self._characters_put - self._characters_taken
        if waiting and waiting + characters > MAX_WAITING_CHARACTERS:
            self._dropped += 1
            return
        self._characters_put += characters
        self._waiting.put((entry, characters, self._dropped))

    def flush(self) -> None:
        """Returns when all was written, but waits no longer than `FLUSH_LIMIT_S`."""
        done = threading.Event()
        self._waiting.put(done)
        done.wait(FLUSH_LIMIT_S)

    def close(self) -> None:
        """Lets the thread end when it has written what waits."""
        self._waiting.put(None)

    def _run(self) -> None:
        while (taken := self._waiting.get()) is not None:
            if isinstance(taken, threading.Event):
                taken.set()
                continue
            entry, characters, dropped_before = taken
            self._tell(dropped_before)
            if self._written(entry):
                if self._waiting.empty():
                    self._tell(self._dropped)
            else:
                self._failed += 1
            self._characters_taken += characters
        if self._end is not None:
            self._end()

    def _tell(self, dropped: int) -> None:
        """Writes how many entries were lost, if that is not known yet; `dropped` are those that did not fit."""
        lost = dropped - self._dropped_and_told + self._failed
        if lost and self._written(self._notice(lost)):
            self._dropped_and_told, self._failed = dropped, 0

    def _written(self, entry: Entry) -> bool:
        try:
            self._write(entry)
        except Exception:  # noqa: BLE001  # there is no log to tell it to
            return False
        return True
