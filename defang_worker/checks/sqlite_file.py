# SPDX-License-Identifier: GPL-3.0-or-later
"""`SqliteFile`: a SQLite file that all workers of a host share, for what checks remember: visits, answers.

With a write-ahead log readers do not wait for the writer, and a transaction is short. What a power cut can take is what
was written last, never the file: `synchronous = NORMAL`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from threading import Lock, RLock
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.checks.budget import Deadline

__all__ = ["SqliteFile", "stored_key", "transaction"]

# For what SQLite does not wait for by itself: others are done within milliseconds.
_PAUSE_S: Final = 0.01
# Whoever closes a descriptor of a file takes all locks from it that the process has there, SQLite's too (POSIX, fcntl):
# while one thread makes a file, no other is to open it.
_MAKING: Final = Lock()


class SqliteFile:
    """Opens `path` when first used, in each worker by itself, and makes it with the tables of `schema`, readable to its
    owner alone. Its directory is to be the daemons' own, and on a local disk. Several may have the same path.
    """

    def __init__(self, path: str, schema: str) -> None:
        self.path = path
        self._schema = schema
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        with _FORKING:
            _FILES.add(self)

    def close(self) -> None:
        """Closes the file; it may be used again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def use(self, deadline: Deadline) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time, waiting for other workers until the deadline. One that failed is
        opened anew by the next, for the file may have been replaced."""
        if not self._lock.acquire(timeout=deadline.left_s()):
            raise TimeoutError("no turn at the store in time")
        try:
            connection = self._connection = self._connection or self._opened(deadline)
            connection.execute(f"PRAGMA busy_timeout = {int(deadline.left_s() * 1000) or 1}")
            yield connection
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._close()
            raise
        finally:
            self._lock.release()

    def _opened(self, deadline: Deadline) -> sqlite3.Connection:
        _make(self.path)
        connection = sqlite3.connect(
            self.path, timeout=deadline.left_s(), isolation_level=None, check_same_thread=False
        )
        try:
            _set_write_ahead(connection, deadline)
            connection.execute("PRAGMA synchronous = NORMAL")
            with transaction(connection):
                for statement in filter(str.strip, self._schema.split(";")):
                    connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection

    def before_fork(self) -> None:
        """Closes the file, and keeps all threads from it."""
        self._lock.acquire()
        with suppress(sqlite3.Error):
            self._close()

    def after_fork(self) -> None:
        """Lets threads have it again, in parent and child."""
        self._lock.release()


def _make(path: str) -> None:
    """Makes the file, empty, if it is missing: SQLite would make it readable to others."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    # With O_EXCL a link would count as a file, and what it leads to would be SQLite's to make.
    with _MAKING, suppress(FileExistsError):
        os.close(os.open(os.path.realpath(path), flags, 0o600))


def _set_write_ahead(connection: sqlite3.Connection, deadline: Deadline) -> None:
    """Tries until the deadline, for two that open a new file at once SQLite does not have wait for one another."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(deadline.left_s(at_most=_PAUSE_S))
        else:
            return


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


def stored_key(key: str) -> str | bytes:
    """The key as SQLite takes it: text, but for one with bytes that are no UTF-8, which is like no text."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return key.encode("utf-8", "surrogatepass")
    return key


# A child is neither to use nor to close what its parent has open, nor even to open the same file: its SQLite takes the
# parent's locks for its own, and so has none (sqlite.org/howtocorrupt.html, 2.6). At a fork none is open, then.
_FILES: Final[WeakSet[SqliteFile]] = WeakSet()
_HELD: Final[list[SqliteFile]] = []
_FORKING: Final = RLock()


def _close_all() -> None:
    _FORKING.acquire()
    for file in list(_FILES):
        file.before_fork()
        _HELD.append(file)


def _let_go() -> None:
    while _HELD:
        _HELD.pop().after_fork()
    _FORKING.release()


os.register_at_fork(before=_close_all, after_in_parent=_let_go, after_in_child=_let_go)
