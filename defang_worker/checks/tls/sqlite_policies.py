# SPDX-License-Identifier: GPL-3.0-or-later
"""`SqlitePolicies`: MTA-STS policies in a SQLite file that all workers of a host share; they outlive a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from defang_worker.checks.sqlite_file import SqliteFile, transaction
from defang_worker.checks.tls.policy_store import KeptPolicy

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline

__all__ = ["SqlitePolicies"]

# Policies are written when a domain is new or changes its own: what has expired goes at the same time.
_EXPIRED_AT_ONCE: Final = 100
# Whoever sends to thousands of made-up domains is not to fill the disk; those that expire first go.
_MAX_POLICIES: Final = 20_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS policies (
    domain TEXT PRIMARY KEY, id TEXT NOT NULL, text BLOB NOT NULL, expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS policies_by_expiry ON policies (expires_at);
"""
_GET: Final = "SELECT id, text, expires_at FROM policies WHERE domain = ? AND expires_at > ?"
_PUT: Final = "INSERT OR REPLACE INTO policies VALUES (?, ?, ?, ?)"
_EXPIRE: Final = """
DELETE FROM policies WHERE domain IN (
    SELECT domain FROM policies WHERE expires_at <= ? ORDER BY expires_at LIMIT ?
)
"""
_SHRINK: Final = """
DELETE FROM policies WHERE domain IN (
    SELECT domain FROM policies ORDER BY expires_at LIMIT max(0, (SELECT count(*) FROM policies) - ?)
)
"""


class SqlitePolicies:
    """Opens `path` when first used, in each worker by itself, and makes it, readable to its owner alone.

    Its directory is to be the daemons' own, and on a local disk; it may be the file of a `SqliteStore`. Raises
    sqlite3.Error, OSError or TimeoutError.
    """

    def __init__(self, path: str, *, max_policies: int = _MAX_POLICIES) -> None:
        self.path: Final = path
        self._file = SqliteFile(path, _SCHEMA)
        self._max_policies = max_policies

    def recall(self, domain: str, now: float, deadline: Deadline) -> KeptPolicy | None:
        """The policy that is kept."""
        with self._file.use(deadline) as connection:
            row = connection.execute(_GET, (domain, now)).fetchone()
        return row and KeptPolicy(id=row[0], text=row[1], expires_at=row[2])

    def keep(self, domain: str, policy: KeptPolicy, now: float, deadline: Deadline) -> None:
        """Keeps a policy."""
        with self._file.use(deadline) as connection, transaction(connection):
            connection.execute(_PUT, (domain, policy.id, policy.text, policy.expires_at))
            connection.execute(_EXPIRE, (now, _EXPIRED_AT_ONCE))
            connection.execute(_SHRINK, (self._max_policies,))

    def close(self) -> None:
        """Lets go of the file; it may be used again."""
        self._file.close()
