# SPDX-License-Identifier: GPL-3.0-or-later
"""`DnsCheck`: what checks that ask the DNS have in common: a resolver, and its nameservers as their service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from defang_worker.checks.check import Check, Feature
from defang_worker.checks.dns.resolver import Resolver, shared_resolver
from defang_worker.checks.outcome import CheckResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.circuit import Circuit

__all__ = ["DnsCheck"]

_Subject_contra = TypeVar("_Subject_contra", contravariant=True)
_Result_co = TypeVar("_Result_co", bound=CheckResult, covariant=True)

# A nameserver asks others itself, and most give up on them after about so long.
_TIMEOUT_S: Final = 10.0


class DnsCheck(Check[_Subject_contra, _Result_co]):
    """Has `resolver`, given as such, or as the nameservers to ask; this host's own unless told otherwise."""

    def __init__(
        self,
        name: str,
        *,
        resolver: Resolver | str | Sequence[str] | None = None,
        timeout_s: float = _TIMEOUT_S,
        **limits: Any,
    ) -> None:
        super().__init__(name, timeout_s=timeout_s, **limits)
        self.resolver: Final = resolver if isinstance(resolver, Resolver) else shared_resolver(resolver or ())

    @property
    def circuits(self) -> Sequence[Circuit]:
        """Those of the nameservers."""
        return self.resolver.circuits

    def features(self, deadline: Deadline) -> list[Feature]:
        """The nameservers, and whether one of them answers."""
        answer = self.resolver.probe(deadline)
        return [
            Feature(
                kind=type(self).__name__,
                name=self.name,
                address=", ".join(self.resolver.nameservers),
                is_reachable=not answer.is_unknown,
                detail=answer.reason,
            )
        ]
