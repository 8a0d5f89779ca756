# SPDX-License-Identifier: GPL-3.0-or-later
"""`RateLimit`: has a client, a sender or an authenticated user sent too much of late?

A window that slides, counted in two halves: this window's visits, and of those of the one before as much as still lies
within it. Who is over the limit is not counted, so whoever slows down gets through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from defang_worker.checks import subject as facts
from defang_worker.checks.greylist.store import Terms
from defang_worker.checks.greylist.stored import StoredCheck, network_of
from defang_worker.checks.outcome import CheckResult, Outcome

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.greylist.store import Store

__all__ = ["RateLimit", "RateLimitResult"]

By = Literal["client", "sender", "user"]

# Whoever has a /64 has all its addresses; of IPv4 an address is a client.
_MASKS: Final = (32, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitResult(CheckResult):
    """FOUND if the limit has been reached; this visit was not counted then."""

    count: int = 0
    """How many there were within the window, with this one if it counts."""
    wait_s: float = 0.0
    """When to come again, at the latest."""


class RateLimit(StoredCheck[RateLimitResult]):
    """Were there `limit` visits within `per_s` seconds already? A visit is a call of `run_checks` with this check: in
    `filter_sender` a message, in `filter_recipient` a recipient.

    Counted by client address (a /64 with IPv6), envelope sender, or authenticated user, or what a function makes of the
    subject. Two limits on one store that count differently need names of their own.
    """

    result_type = RateLimitResult

    def __init__(
        self,
        store: Store | str,
        *,
        limit: int,
        per_s: float,
        by: By | Callable[[Any], str] = "client",
        name: str = "rate-limit",
        **more: Any,
    ) -> None:
        super().__init__(store, name=name, **more)
        if limit < 1 or not per_s > 0:
            raise ValueError(f"{name}: limit and per_s are to be more than 0")
        if not callable(by) and by not in _KEYS:
            raise ValueError(f'{name}: by is "client", "sender", "user" or a function, not {by!r}')
        self.limit = limit
        self.per_s = per_s
        self._key_of = by if callable(by) else _KEYS[by]

    def prepare(self, subject: Any) -> Job[RateLimitResult] | RateLimitResult:
        """Takes what is counted by."""
        key = self._key_of(subject)
        if not key:
            return self.result(Outcome.NOT_APPLICABLE, "nothing to count by")  # type: ignore[no-any-return]
        return self._job(key)

    def _remembered(self, key: str, deadline: Deadline) -> RateLimitResult:
        now = self.clock()
        window, into_s = divmod(now, self.per_s)
        this, last = (f"rate {self.name} {key} {number:.0f}" for number in (window, window - 1))
        before = self.store.get(last, now, deadline)
        carried = int(before.count * (1 - into_s / self.per_s)) if before else 0
        known = self.store.get(this, now, deadline)
        count = carried + (known.count if known else 0)
        if count < self.limit:
            # Others may have come between: what this visit was told by the store decides.
            _, after = self.store.touch(this, now, Terms(life_s=2 * self.per_s), deadline)
            count = carried + after.count
            if count <= self.limit:
                return self.result(Outcome.NOT_FOUND, f"{count} of {self.limit}", count=count)  # type: ignore[no-any-return]
        wait_s = 2 * self.per_s - into_s
        return self.result(  # type: ignore[no-any-return]  # of this check's own type
            Outcome.FOUND, f"{key}: {count} within {self.per_s:g} s", count=count, wait_s=wait_s
        )


def _client(subject: Any) -> str:
    return network_of(facts.client_ip(subject), _MASKS) or ""


def _sender(subject: Any) -> str:
    return facts.sender(subject).lower()


def _user(subject: Any) -> str:
    macros = getattr(getattr(subject, "envelope", subject), "macros", {})  # of a connection there are none
    return str(macros.get("auth_authen", ""))


_KEYS: Final[dict[str, Callable[[Any], str]]] = {"client": _client, "sender": _sender, "user": _user}
