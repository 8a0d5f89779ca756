# SPDX-License-Identifier: GPL-3.0-or-later
"""`AnswerCache`: answers that still hold. Pure: `now` comes in. Used from the threads of all checks, so with a lock."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from defang_worker.checks.dns.answer import Answer, Question

__all__ = ["AnswerCache"]

# An entry takes a kilobyte or two: this is a few megabytes in each worker.
_MAX_ENTRIES: Final = 4096
# A stranger's response may have 64 KB, and takes some times that as records.
_MAX_BYTES: Final = 1024 * 1024
# A wrong record that lives for weeks is not to outlive its correction so long in every worker.
_MAX_TTL_S: Final = 3600.0


class AnswerCache:
    """Answers by question; the ones that were not asked for the longest time go first."""

    def __init__(self, max_entries: int = _MAX_ENTRIES, max_bytes: int = _MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[Question, tuple[float, Answer]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question, now: float) -> Answer | None:
        """The answer, if it is known and still holds."""
        with self._lock:
            known = self._entries.get(question)
            if known is None:
                return None
            if known[0] <= now:
                self._forget(question)
                return None
            self._entries.move_to_end(question)
            return known[1]

    def put(self, question: Question, answer: Answer, now: float) -> None:
        """Keeps an answer for as long as it holds; one that tells nothing is not kept."""
        if answer.is_unknown or answer.ttl_s <= 0:
            return
        with self._lock:
            self._forget(question)
            self._entries[question] = (now + min(answer.ttl_s, _MAX_TTL_S), answer)
            self._bytes += answer.size_bytes
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                self._forget(next(iter(self._entries)))

    def _forget(self, question: Question) -> None:
        if (known := self._entries.pop(question, None)) is not None:
            self._bytes -= known[1].size_bytes
