# SPDX-License-Identifier: GPL-3.0-or-later
"""`SqliteStore`: visits in a SQLite file that all workers of a host share. A visit is one short transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from defang_worker.checks.greylist.store import Terms, Visit
from defang_worker.checks.sqlite_file import SqliteFile, stored_key, transaction

if TYPE_CHECKING:
    import sqlite3

    from defang_worker.checks.budget import Deadline

__all__ = ["SqliteStore"]

# One in so many visits forgets a few that have expired: a site without ticks needs no more.
_VISITS_PER_EXPIRY: Final = 256
_EXPIRED_AT_ONCE: Final = 512
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS visits (
    key TEXT PRIMARY KEY, first_at REAL NOT NULL, latest_at REAL NOT NULL, count INTEGER NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS visits_by_expiry ON visits (expires_at);
"""
_GET: Final = "SELECT first_at, latest_at, count, expires_at FROM visits WHERE key = ? AND expires_at > ?"
_PUT: Final = "INSERT OR REPLACE INTO visits VALUES (?, ?, ?, ?, ?)"
_EXPIRE: Final = "DELETE FROM visits WHERE key IN (SELECT key FROM visits WHERE expires_at <= ? LIMIT ?)"


class SqliteStore:
    """Opens `path` when first used, in each worker by itself, and makes it, readable to its owner alone.

    Its directory is to be the daemons' own, and on a local disk.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = SqliteFile(path, _SCHEMA)
        self._visits = 0

    def get(self, key: str, now: float, deadline: Deadline) -> Visit | None:
        """What is known; raises sqlite3.Error, OSError or TimeoutError."""
        with self._file.use(deadline) as connection:
            return _visit(connection, key, now)

    def touch(self, key: str, now: float, terms: Terms, deadline: Deadline) -> tuple[Visit | None, Visit]:
        """Counts a visit; raises as above."""
        with self._file.use(deadline) as connection, transaction(connection):
            before = _visit(connection, key, now)
            first_at = before.first_at if before else now
            after = Visit(
                first_at=first_at,
                latest_at=now,
                count=before.count + 1 if before else 1,
                expires_at=terms.expires_at(first_at, now),
            )
            row = (stored_key(key), after.first_at, after.latest_at, after.count, after.expires_at)
            connection.execute(_PUT, row)
            self._visits += 1
            if self._visits % _VISITS_PER_EXPIRY == 0:
                connection.execute(_EXPIRE, (now, _EXPIRED_AT_ONCE))
        return before, after

    def expire(self, now: float, deadline: Deadline, *, at_most: int = 1000) -> int:
        """Forgets; raises as above."""
        with self._file.use(deadline) as connection, transaction(connection):
            return connection.execute(_EXPIRE, (now, at_most)).rowcount

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _visit(connection: sqlite3.Connection, key: str, now: float) -> Visit | None:
    row = connection.execute(_GET, (stored_key(key), now)).fetchone()
    return row and Visit(first_at=row[0], latest_at=row[1], count=row[2], expires_at=row[3])
