# SPDX-License-Identifier: GPL-3.0-or-later
"""`Circuit`: whether a service is asked at all. One that is down is noticed once, left alone for a while, then tried.

Pure: `now` comes in, and the news for the log go out. One for each service (address) and worker process. Methods are
called from the threads of checks, late ones too, so a lock keeps the few numbers together.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

__all__ = ["Circuit"]

# One slow answer may be the message's fault, so a service that can be reached is given up after a few in a row.
_FAULTS_TO_OPEN: Final = 3
# First short, for most services are back after a restart; then such that a dead one costs one try a minute.
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0


class Circuit:
    """The state of one service: in use, left alone until a moment, or being tried by one message."""

    __slots__ = ("_faults", "_lock", "_news", "_open_until", "_pause_s", "_reason", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = Lock()
        self._faults = 0
        self._open_until: float | None = None
        self._pause_s = 0.0
        self._reason = ""
        self._news: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether the service counts as down."""
        return self._open_until is not None

    @property
    def reason(self) -> str:
        """Why it counts as down."""
        return self._reason

    def may_try(self, now: float) -> bool:
        """Whether the service is to be asked now. Of one that is down this grants one try a pause."""
        with self._lock:
            if self._open_until is None:
                return True
            if now < self._open_until:
                return False
            # Others are told no until this try has ended, or another pause has gone without a word from it.
            self._open_until = now + self._pause_s
            return True

    def is_resting(self, now: float) -> bool:
        """Whether `may_try` would say no; grants nothing."""
        # Read once: a late thread may close it at any moment.
        open_until = self._open_until
        return open_until is not None and now < open_until

    def worked(self) -> None:
        """The service answered as it should."""
        with self._lock:
            if self._open_until is not None:
                self._news.append(f"{self.name}: answers again")
            self._faults, self._open_until, self._pause_s = 0, None, 0.0

    def failed(self, reason: str, now: float, *, is_down: bool) -> None:
        """The service did not do its work; `is_down` if it could not even be reached."""
        with self._lock:
            self._faults += 1
            self._reason = reason
            if self._open_until is None and not is_down and self._faults < _FAULTS_TO_OPEN:
                return
            if self._open_until is None:
                self._news.append(f"{self.name}: is down, and tried again from time to time: {reason}")
            self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
            self._open_until = now + self._pause_s

    def take_news(self) -> list[str]:
        """What the log has not been told yet."""
        if not self._news:
            return []
        with self._lock:
            news, self._news = self._news, []
        return news
