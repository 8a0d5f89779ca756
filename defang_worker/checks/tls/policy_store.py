# SPDX-License-Identifier: GPL-3.0-or-later
"""`PolicyStore`: where MTA-STS policies are kept for as long as they hold; `KeptPolicy`, and `MemoryPolicies`.

`SqlitePolicies` is for all workers of a host, and outlives them. Times are seconds since the epoch and come in. An
exception of any kind says that the store could not tell.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline

__all__ = ["KeptPolicy", "MemoryPolicies", "PolicyStore"]

# A policy has a few hundred bytes, and may have 64 KB. This is for one worker.
_MAX_BYTES: Final = 4 * 1024 * 1024
# What an entry takes beside its text.
_ENTRY_BYTES: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPolicy:
    """A policy as it was fetched."""

    id: str
    """That of the DNS record then."""
    text: bytes
    expires_at: float


class PolicyStore(Protocol):
    """Keeps policies by domain."""

    def recall(self, domain: str, now: float, deadline: Deadline) -> KeptPolicy | None:
        """The policy that is kept; None if there is none, or it has expired."""

    def keep(self, domain: str, policy: KeptPolicy, now: float, deadline: Deadline) -> None:
        """Keeps a policy, instead of an earlier one."""


class MemoryPolicies:
    """Policies in the memory of a worker; the ones that were not asked for the longest time go first."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._policies: OrderedDict[str, KeptPolicy] = OrderedDict()
        self._lock = Lock()

    def recall(self, domain: str, now: float, deadline: Deadline) -> KeptPolicy | None:  # noqa: ARG002  # no wait
        """What is kept."""
        with self._lock:
            policy = self._policies.get(domain)
            if policy is None:
                return None
            if policy.expires_at <= now:
                self._forget(domain)
                return None
            self._policies.move_to_end(domain)
            return policy

    def keep(self, domain: str, policy: KeptPolicy, now: float, deadline: Deadline) -> None:  # noqa: ARG002  # no wait
        """Keeps it."""
        with self._lock:
            self._forget(domain)
            self._policies[domain] = policy
            self._bytes += _ENTRY_BYTES + len(policy.text)
            while self._bytes > self._max_bytes:
                self._forget(next(iter(self._policies)))

    def _forget(self, domain: str) -> None:
        if (policy := self._policies.pop(domain, None)) is not None:
            self._bytes -= _ENTRY_BYTES + len(policy.text)
