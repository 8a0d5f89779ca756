# SPDX-License-Identifier: GPL-3.0-or-later
"""`ServiceCheck`: a check that asks a service with one or several addresses, with failover between them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from defang_worker.checks.check import Check, Feature
from defang_worker.checks.endpoints import Endpoints
from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import CheckResult, Outcome

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.circuit import Circuit

__all__ = ["ServiceCheck"]

_Subject_contra = TypeVar("_Subject_contra", contravariant=True)
_Result_co = TypeVar("_Result_co", bound=CheckResult, covariant=True)


class ServiceCheck(Check[_Subject_contra, _Result_co]):
    """Has `endpoints`, whose `call` its jobs use; each address is left alone while it is down.

    `max_bytes` is the largest content that the service is shown; raises ValueError if that is none at all.
    """

    def __init__(self, name: str, addresses: str | Sequence[str], *, max_bytes: int, **limits: Any) -> None:
        super().__init__(name, **limits)
        if max_bytes <= 0:
            raise ValueError(f"{name}: max_bytes is to be more than 0, not {max_bytes}")
        self.endpoints = Endpoints(addresses)
        self.max_bytes = max_bytes

    @property
    def circuits(self) -> Sequence[Circuit]:
        """Those of the addresses."""
        return self.endpoints.circuits

    def too_large(self, size: int) -> _Result_co | None:
        """The result for content of that size if it is over the limit: the question does not apply to it."""
        if size <= self.max_bytes:
            return None
        return self.result(Outcome.NOT_APPLICABLE, f"larger than {self.max_bytes} bytes")  # type: ignore[no-any-return]

    def gave_up(self, reason: str) -> None:
        """Counts as a fault of the address that was being asked."""
        self.endpoints.gave_up(reason)

    @abstractmethod
    def version(self, address: str, deadline: Deadline) -> str:
        """What the service at that address says that it is; raises CouldNotTell or OSError if it does not answer."""

    def features(self, deadline: Deadline) -> list[Feature]:
        """Each address, and whether the service answers there."""
        return [self._feature(address, deadline) for address in self.endpoints.addresses]

    def _feature(self, address: str, deadline: Deadline) -> Feature:
        kind = type(self).__name__
        try:
            version = self.version(address, deadline)
        except (CouldNotTell, OSError) as fault:
            detail = str(fault) or type(fault).__name__
            return Feature(kind=kind, name=self.name, address=address, is_reachable=False, detail=detail)
        return Feature(kind=kind, name=self.name, address=address, is_reachable=True, version=version)
