# SPDX-License-Identifier: GPL-3.0-or-later
"""`CallMemory`: what servers have said of recipients, in a SQLite file that all workers of a host share.

Bounded: what has expired goes, a few entries at a time, and of too many those that would expire first.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.callahead.result import from_memory, to_memory
from defang_worker.checks.outcome import Outcome
from defang_worker.checks.sqlite_file import SqliteFile, stored_key, transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from defang_worker.checks.budget import Deadline

__all__ = ["CallMemory"]

_HOUR_S: Final = 3600.0
# Whoever tries all names of a domain is not to fill the disk: so many take some tens of megabytes.
_MAX_ENTRIES: Final = 100_000
# Counting all takes milliseconds: one in so many writes does it, and takes away what came since, and more.
_WRITES_PER_CLEARING: Final = 256
_CLEARED_AT_ONCE: Final = 1024
# Longer addresses than RFC 5321 has (section 4.5.3.1) are asked about each time.
_MAX_KEY_CHARS: Final = 1024
# A file that others hold is not to take the time that the call needs.
_WAIT_S: Final = 1.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, answer TEXT NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calls_by_expiry ON calls (expires_at);
"""
_GET: Final = "SELECT answer FROM calls WHERE key = ? AND expires_at > ?"
_PUT: Final = "INSERT OR REPLACE INTO calls VALUES (?, ?, ?)"
_CLEAR: Final = "DELETE FROM calls WHERE key IN (SELECT key FROM calls WHERE expires_at <= ? LIMIT ?)"
_SHRINK: Final = """
DELETE FROM calls WHERE key IN (
    SELECT key FROM calls ORDER BY expires_at LIMIT min(?, max(0, (SELECT count(*) FROM calls) - ?))
)
"""


class CallMemory:
    """Keeps answers in the file `path`: of recipients that are there for `accepted_life_s` (6 hours), of those that are
    not for `refused_life_s` (half an hour), `max_entries` (100,000) at most. What could not be told is not kept.
    """

    def __init__(
        self,
        path: str,
        *,
        accepted_life_s: float = 6 * _HOUR_S,
        refused_life_s: float = 0.5 * _HOUR_S,
        max_entries: int = _MAX_ENTRIES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if accepted_life_s < 0 or refused_life_s < 0 or max_entries < 1:
            raise ValueError("an answer is kept for 0 seconds or more, and at least one of them")
        self.max_entries: Final = max_entries
        self.clock: Final = clock
        self._life_s = {Outcome.FOUND: accepted_life_s, Outcome.NOT_FOUND: refused_life_s}
        self._file = SqliteFile(path, _SCHEMA)
        self._writes = 0

    def recall(self, key: str, deadline: Deadline) -> dict[str, Any] | None:
        """The members of the result that is kept; raises sqlite3.Error, OSError or TimeoutError."""
        with self._file.use(deadline.sooner(_WAIT_S)) as connection:
            row = connection.execute(_GET, (stored_key(key), self.clock())).fetchone()
        return row and from_memory(row[0])

    def remember(self, key: str, result: dict[str, Any], deadline: Deadline) -> None:
        """Keeps a result if it is one to keep; raises as above."""
        life_s = self._life_s.get(result["outcome"], 0)
        if not life_s or len(key) > _MAX_KEY_CHARS:
            return
        now = self.clock()
        with self._file.use(deadline.sooner(_WAIT_S)) as connection, transaction(connection):
            connection.execute(_PUT, (stored_key(key), to_memory(result), now + life_s))
            self._writes += 1
            if self._writes % _WRITES_PER_CLEARING == 0:
                connection.execute(_CLEAR, (now, _CLEARED_AT_ONCE))
                connection.execute(_SHRINK, (_CLEARED_AT_ONCE, self.max_entries))

    def close(self) -> None:
        """Lets go of the file; it may be used again."""
        self._file.close()
