# SPDX-License-Identifier: GPL-3.0-or-later
"""`StoredCheck`: what checks with a memory have in common: a store whose every failure is "could not tell"."""

from __future__ import annotations

import ipaddress
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from defang_worker.checks.check import Check
from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.greylist.sqlite_store import SqliteStore
from defang_worker.checks.outcome import CheckResult

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.greylist.store import Store

__all__ = ["StoredCheck", "network_of"]

_Result_co = TypeVar("_Result_co", bound=CheckResult, covariant=True)

# A local file answers in milliseconds; a client waits in the midst of its dialogue.
_TIMEOUT_S: Final = 5.0


class StoredCheck(Check[Any, _Result_co]):
    """Has `store`, a `Store` or the path of a SQLite file, and `clock`, which tests may set."""

    def __init__(
        self,
        store: Store | str,
        *,
        name: str,
        clock: Callable[[], float] = time.time,
        timeout_s: float = _TIMEOUT_S,
        **limits: Any,
    ) -> None:
        super().__init__(name, timeout_s=timeout_s, **limits)
        self.store: Final = SqliteStore(store) if isinstance(store, str) else store
        self.clock: Final = clock

    @abstractmethod
    def _remembered(self, key: Any, deadline: Deadline) -> _Result_co:
        """Asks the store; whatever it raises means that the store could not tell."""

    def _job(self, key: Any) -> Job[_Result_co]:
        def ask(deadline: Deadline) -> _Result_co:
            try:
                return self._remembered(key, deadline)
            # A store may be anybody's, and its exceptions any. The policy says what becomes of the mail.
            except Exception as fault:
                raise CouldNotTell(f"the store: {str(fault) or type(fault).__name__}") from fault

        return ask


def network_of(address: str, masks: tuple[int, int]) -> str | None:
    """The network of a client, 192.0.2.0/24; None if it has no address, or one of this host's own."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback:
        return None
    return str(ipaddress.ip_network((ip, masks[0] if ip.version == 4 else masks[1]), strict=False))
