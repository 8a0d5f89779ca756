# SPDX-License-Identifier: GPL-3.0-or-later
"""`SqliteFile`: a SQLite file that all workers of a host share, for what checks remember: visits, answers.

With a write-ahead log readers do not wait for the writer, and a transaction is short. What a power cut can take is what
was written last, never the file: `synchronous = NORMAL`.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.checks.budget import Deadline

__all__ = ["SqliteFile", "transaction"]


class SqliteFile:
    """Opens `path` when first used, in each worker by itself, and makes it with the tables of `schema`, readable to its
    owner alone. Its directory is to be the daemons' own, and on a local disk.
    """

    def __init__(self, path: str, schema: str) -> None:
        self.path = path
        self._schema = schema
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._inherited: sqlite3.Connection | None = None
        self._opened_by = 0

    def close(self) -> None:
        """Closes the file; it may be used again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._opened_by == os.getpid():
            connection.close()

    @contextmanager
    def use(self, deadline: Deadline) -> Iterator[sqlite3.Connection]:
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
            with transaction(connection):
                for statement in filter(str.strip, self._schema.split(";")):
                    connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        self._connection, self._opened_by = connection, os.getpid()
        return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Takes the write lock at once: one taken later is refused, not waited for, if somebody has written since."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
