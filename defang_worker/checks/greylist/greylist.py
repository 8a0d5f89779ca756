# SPDX-License-Identifier: GPL-3.0-or-later
"""`Greylist`: who comes for the first time is asked to come again, which senders of spam rarely do (RFC 6647).

It never refuses for good: who comes too late is new again. To be asked at RCPT.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks import subject as facts
from defang_worker.checks.greylist.store import Terms
from defang_worker.checks.greylist.stored import StoredCheck, network_of
from defang_worker.checks.outcome import CheckResult, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.envelope import Envelope
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.greylist.store import Store

__all__ = ["Greylist", "GreylistResult"]

MINUTE_S: Final = 60
DAY_S: Final = 24 * 60 * MINUTE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class GreylistResult(CheckResult):
    """FOUND if the client is to come again later."""

    wait_s: float = 0.0
    """For how long it is not to come."""
    known_s: float = 0.0
    """How long sender, recipient and network have been known together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    triplet: str
    network: str


class Greylist(StoredCheck[GreylistResult]):
    """Has client, sender and recipient come together before, at least `wait_s` ago, and again within `retry_s`?

    Clients are known by their network (`masks`, for IPv4 and IPv6), for large senders try again from a neighbour. Who
    has passed is known for `life_s` from the last mail. A network that has passed with `allow_after` triplets waits no
    more (0: it always does). Networks in `allow`, authenticated users and this host itself are not greylisted.
    """

    result_type = GreylistResult

    def __init__(
        self,
        store: Store | str,
        *,
        name: str = "greylist",
        wait_s: float = 5 * MINUTE_S,
        retry_s: float = 2 * DAY_S,
        life_s: float = 36 * DAY_S,
        masks: tuple[int, int] = (24, 64),
        allow_after: int = 5,
        allow: Sequence[str] = (),
        **more: Any,
    ) -> None:
        super().__init__(store, name=name, **more)
        if not 0 < wait_s < retry_s:
            raise ValueError(f"{name}: wait_s is to be more than 0 and less than retry_s")
        if not 0 <= masks[0] <= 32 or not 0 <= masks[1] <= 128:
            raise ValueError(f"{name}: masks are 0 to 32 bits for IPv4, and 0 to 128 for IPv6")
        self.wait_s = wait_s
        self.terms = Terms(life_s=life_s, ripe_after_s=wait_s, young_life_s=retry_s)
        self.masks = masks
        self.allow_after = allow_after
        self.allow = tuple(ipaddress.ip_network(one) for one in allow)

    def prepare(self, subject: Envelope) -> Job[GreylistResult] | GreylistResult:
        """Takes client, sender and the recipient that is asked about."""
        address = facts.client_ip(subject)
        network = network_of(address, self.masks)
        if network is None:
            return self._exempt("a client on this host")
        if any(ipaddress.ip_address(address) in one for one in self.allow):
            return self._exempt("an allowed network")
        if subject.macros.get("auth_authen"):
            return self._exempt("an authenticated user")
        recipient = subject.recipients[-1].address.bare.lower()
        triplet = f"grey {network} {facts.sender(subject).lower()} {recipient}"
        return self._job(_Keys(triplet=triplet, network=f"passed {network}"))

    def _exempt(self, why: str) -> GreylistResult:
        return self.result(Outcome.NOT_APPLICABLE, why)  # type: ignore[no-any-return]

    def _remembered(self, key: _Keys, deadline: Deadline) -> GreylistResult:
        now = self.clock()
        if self.allow_after and self._is_allowed(key.network, now, deadline):
            return self.result(Outcome.NOT_FOUND, "a network that has passed before")  # type: ignore[no-any-return]
        before, after = self.store.touch(key.triplet, now, self.terms, deadline)
        known_s = now - after.first_at
        if known_s < self.wait_s:
            wait_s = self.wait_s - known_s
            return self.result(  # type: ignore[no-any-return]
                Outcome.FOUND, f"to come again in {wait_s:.0f} s", wait_s=wait_s, known_s=known_s
            )
        if before is not None and before.latest_at - before.first_at < self.wait_s:
            # It passes for the first time, which only one worker sees.
            self.store.touch(key.network, now, Terms(life_s=self.terms.life_s), deadline)
        return self.result(Outcome.NOT_FOUND, f"known for {known_s:.0f} s", known_s=known_s)  # type: ignore[no-any-return]

    def _is_allowed(self, network: str, now: float, deadline: Deadline) -> bool:
        known = self.store.get(network, now, deadline)
        if known is None or known.count < self.allow_after:
            return False
        # A mail prolongs what is known, but need not be written each time.
        if known.expires_at - now < self.terms.life_s / 2:
            self.store.touch(network, now, Terms(life_s=self.terms.life_s), deadline)
        return True
