# SPDX-License-Identifier: GPL-3.0-or-later
"""`SqliteStore`: visits in a SQLite file that all workers of a host share.

With a write-ahead log readers do not wait for the writer, and a visit is one short transaction. What a power cut can
take is the latest visits, never the file: `synchronous = NORMAL`.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, Final

from defang_worker.checks.greylist.store import Terms, Visit

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._inherited: sqlite3.Connection | None = None
        self._opened_by = 0
        self._visits = 0

    def get(self, key: str, now: float, deadline: Deadline) -> Visit | None:
        """What is known; raises sqlite3.Error, OSError or TimeoutError."""
        with self._use(deadline) as connection:
            return _visit(connection, key, now)

    def touch(self, key: str, now: float, terms: Terms, deadline: Deadline) -> tuple[Visit | None, Visit]:
        """Counts a visit; raises as above."""
        with self._use(deadline) as connection, _transaction(connection):
            before = _visit(connection, key, now)
            first_at = before.first_at if before else now
            after = Visit(
                first_at=first_at,
                latest_at=now,
                count=before.count + 1 if before else 1,
                expires_at=terms.expires_at(first_at, now),
            )
            connection.execute(_PUT, (key, after.first_at, after.latest_at, after.count, after.expires_at))
            self._visits += 1
            if self._visits % _VISITS_PER_EXPIRY == 0:
                connection.execute(_EXPIRE, (now, _EXPIRED_AT_ONCE))
        return before, after

    def expire(self, now: float, deadline: Deadline, *, at_most: int = 1000) -> int:
        """Forgets; raises as above."""
        with self._use(deadline) as connection, _transaction(connection):
            return connection.execute(_EXPIRE, (now, at_most)).rowcount

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._opened_by == os.getpid():
            connection.close()

    @contextmanager
    def _use(self, deadline: Deadline) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time, waiting for other workers until the deadline. One that failed is
        opened anew by the next, for the file may have been replaced."""
        if not self._lock.acquire(timeout=deadline.left_s()):
            raise TimeoutError("no turn at the store in time")
        try:
            connection = self._opened(deadline)
            connection.execute(f"PRAGMA busy_timeout = {int(deadline.left_s() * 1000) or 1}")
            yield connection
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._close()
            raise
        finally:
            self._lock.release()

    def _opened(self, deadline: Deadline) -> sqlite3.Connection:
        if self._connection is not None and self._opened_by == os.getpid():
            return self._connection
        # A forked child is neither to use nor to close its parent's connection.
        self._inherited, self._connection = self._connection, None
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        connection = sqlite3.connect(
            self.path, timeout=deadline.left_s(), isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            with _transaction(connection):
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        self._connection, self._opened_by = connection, os.getpid()
        return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Takes the write lock at once: one taken later is refused, not waited for, if somebody has written since."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _visit(connection: sqlite3.Connection, key: str, now: float) -> Visit | None:
    row = connection.execute(_GET, (key, now)).fetchone()
    return row and Visit(first_at=row[0], latest_at=row[1], count=row[2], expires_at=row[3])
