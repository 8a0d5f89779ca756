# SPDX-License-Identifier: GPL-3.0-or-later
"""`DomainsCheck`: what checks of the recipients' domains have in common: which domains, and one outcome for all."""

from __future__ import annotations

import ipaddress
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from defang_worker.checks import subject as facts
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.outcome import CheckResult, Outcome

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job

__all__ = ["DomainsCheck"]

_Result_co = TypeVar("_Result_co", bound=CheckResult, covariant=True)
_Value = TypeVar("_Value")

# Each takes dozens of look-ups. A message to more domains is none that is sent by its domains' policies.
_MAX_DOMAINS: Final = 10
# The outcome for all is the first of these that any has: one domain that lacks something is enough.
_BY_WEIGHT: Final = (Outcome.UNKNOWN, Outcome.NOT_FOUND, Outcome.NOT_APPLICABLE, Outcome.FOUND)


class DomainsCheck(DnsCheck[Any, _Result_co]):
    """`about` gives the domain or domains of a subject; those of the recipients unless told otherwise."""

    def __init__(
        self,
        name: str,
        *,
        about: Callable[[Any], str | Iterable[str]] = facts.recipient_domains,
        **more: Any,
    ) -> None:
        super().__init__(name, **more)
        self.about = about

    def prepare(self, subject: Any) -> Job[_Result_co] | _Result_co:
        """Takes the domains."""
        given = self.about(subject)
        domains = [*dict.fromkeys(map(_ascii, [given] if isinstance(given, str) else given))]
        domains = [domain for domain in domains if domain]
        if not domains:
            return self.result(Outcome.NOT_APPLICABLE, "no domain")  # type: ignore[no-any-return]
        if len(domains) > _MAX_DOMAINS:
            return self.unknown(f"{len(domains)} domains are more than {_MAX_DOMAINS}")  # type: ignore[no-any-return]
        return lambda deadline: self._looked_up(domains, deadline)

    @abstractmethod
    def _looked_up(self, domains: Sequence[str], deadline: Deadline) -> _Result_co:
        """Asks about all of them."""

    def _each(self, look_up: Callable[[int], _Value], count: int) -> tuple[_Value, ...]:
        """What comes of each domain, by its number: side by side, for none is to take the time of the others."""
        if count == 1:
            return (look_up(0),)
        with ThreadPoolExecutor(count) as pool:
            return tuple(pool.map(look_up, range(count)))

    def _summary(self, found: Sequence[tuple[str, Outcome, str]], **more: Any) -> _Result_co:
        """The result for all, of domain, outcome and reason of each."""
        outcomes = {outcome for _, outcome, _ in found}
        outcome = next(one for one in _BY_WEIGHT if one in outcomes)
        detail = ", ".join(f"{domain}: {reason}" for domain, _, reason in found)
        return self.result(outcome, detail, **more)  # type: ignore[no-any-return]  # of this check's own type


def _ascii(domain: str) -> str:
    """A domain as the DNS has it; empty for an address in its place, and for what can be no domain."""
    domain = domain.strip().lower().removesuffix(".")
    if domain.startswith("["):
        return ""
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        pass
    else:
        return ""
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
