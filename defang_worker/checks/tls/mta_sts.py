# SPDX-License-Identifier: GPL-3.0-or-later
"""`MtaSts`: do the recipients' domains say which hosts take their mail, by TLS with valid certificates (RFC 8461)?"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.dns.answer import Question
from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import CheckResult, Outcome
from defang_worker.checks.tls.domains import DomainsCheck
from defang_worker.checks.tls.policy_host import NoPolicy, PolicyHost
from defang_worker.checks.tls.policy_store import KeptPolicy, MemoryPolicies
from defang_worker.checks.tls.sqlite_policies import SqlitePolicies
from defang_worker.checks.tls.sts_policy import StsMode, StsPolicy, policy_id

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.dns.answer import Answer
    from defang_worker.checks.tls.policy_store import PolicyStore

__all__ = ["MtaSts", "MtaStsResult", "StsDomain"]

# The RFC has a minute for the policy alone (section 3.3). A client waits, and the host that has it is a web server.
_TIMEOUT_S: Final = 20.0
# Section 3.3: a policy that could not be had is not to be tried again for each message.
_PAUSE_S: Final = 300.0
_MAX_PAUSES: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class StsDomain:
    """What a domain says."""

    domain: str
    outcome: Outcome
    policy: StsPolicy | None = None
    """None if there is none, or it could not be had."""
    is_kept: bool = False
    """Whether it is an earlier one that still holds, because there is no other now, or it could not be had."""
    reason: str = ""
    """Why there is none, or it could not be had."""

    @property
    def mode(self) -> StsMode:
        """That of the policy; `none` without one."""
        return StsMode.NONE if self.policy is None else self.policy.mode


@dataclass(frozen=True, slots=True, kw_only=True)
class MtaStsResult(CheckResult):
    """FOUND if every domain has a policy, in mode `enforce` or `testing`; NOT_FOUND if one has none."""

    domains: tuple[StsDomain, ...] = ()

    @property
    def is_enforced(self) -> bool:
        """Whether all domains want mail only to go to hosts with valid certificates."""
        return bool(self.domains) and all(one.mode is StsMode.ENFORCE for one in self.domains)

    def as_record(self) -> dict[str, Any]:
        """With the mode of each domain."""
        told = CheckResult.as_record(self)
        if self.domains:
            told["domains"] = {one.domain: one.mode.value for one in self.domains}
        return told


class MtaSts(DomainsCheck[MtaStsResult]):
    """Is there a policy, and which? It is kept in `store`, a `PolicyStore` or the path of a SQLite file, for as long as
    it holds; by each worker for itself unless told otherwise. `clock` may be set by tests.
    """

    result_type = MtaStsResult

    def __init__(
        self,
        store: PolicyStore | str | None = None,
        *,
        name: str = "mta-sts",
        ca_file: str | None = None,
        port: int = 443,
        allow_private: bool = False,
        clock: Callable[[], float] = time.time,
        **more: Any,
    ) -> None:
        super().__init__(name, **{"timeout_s": _TIMEOUT_S, **more})
        self.store: Final = SqlitePolicies(store) if isinstance(store, str) else store or MemoryPolicies()
        self.clock: Final = clock
        self._host = PolicyHost(ca_file=ca_file, port=port, allow_private=allow_private)
        self._pauses = _Pauses()

    def _looked_up(self, domains: Sequence[str], deadline: Deadline) -> MtaStsResult:
        questions = [Question(f"_mta-sts.{domain}", "TXT") for domain in domains]
        answers = self.resolver.ask_all(questions, deadline)
        found = self._each(lambda number: self._one(domains[number], answers[number], deadline), len(domains))
        return self._summary([(one.domain, one.outcome, _said(one)) for one in found], domains=found)

    def _one(self, domain: str, answer: Answer, deadline: Deadline) -> StsDomain:
        try:
            kept = self.store.recall(domain, self.clock(), deadline)
            earlier = None if kept is None else StsPolicy.of(kept.text)
        # A store may be anybody's, and its exceptions any. An earlier policy must not be missed.
        except Exception as fault:  # noqa: BLE001
            return StsDomain(domain=domain, outcome=Outcome.UNKNOWN, reason=f"the store: {_text(fault)}")
        try:
            wanted = _id(answer)
            if kept is not None and earlier is not None and kept.id == wanted:
                return _with_policy(domain, earlier)
            return self._fetched(domain, wanted, deadline)
        except NoPolicy as fault:
            outcome, reason = Outcome.NOT_FOUND, str(fault)
        except (CouldNotTell, OSError) as fault:
            outcome, reason = Outcome.UNKNOWN, _text(fault)
        if earlier is not None:
            return _with_policy(domain, earlier, is_kept=True, reason=reason)
        return StsDomain(domain=domain, outcome=outcome, reason=reason)

    def _fetched(self, domain: str, wanted: str, deadline: Deadline) -> StsDomain:
        """With a policy that is fetched and kept; raises what `PolicyHost.fetch` does, for some minutes, too."""
        now = self.clock()
        self._pauses.require_none((domain, wanted), now)
        try:
            policy, text = self._host.fetch(domain, self.resolver, deadline)
        except (NoPolicy, CouldNotTell, OSError) as fault:
            self._pauses.begin((domain, wanted), fault, now)
            raise
        kept = KeptPolicy(id=wanted, text=text, expires_at=now + policy.max_age_s)
        try:
            self.store.keep(domain, kept, now, deadline)
        # It is the policy for all that, and what could not be kept is fetched again.
        except Exception as fault:  # noqa: BLE001
            return _with_policy(domain, policy, reason=f"it could not be kept: {_text(fault)}")
        return _with_policy(domain, policy)


class _Pauses:
    """Policies, by domain and id, that could not be had, until when that counts, and why."""

    def __init__(self) -> None:
        self._faults: OrderedDict[tuple[str, str], tuple[float, bool, str]] = OrderedDict()
        self._lock = Lock()

    def begin(self, key: tuple[str, str], fault: Exception, now: float) -> None:
        with self._lock:
            self._faults[key] = now + _PAUSE_S, isinstance(fault, NoPolicy), _text(fault)
            while len(self._faults) > _MAX_PAUSES:
                self._faults.popitem(last=False)

    def require_none(self, key: tuple[str, str], now: float) -> None:
        """Raises NoPolicy or CouldNotTell, as it was."""
        with self._lock:
            until, is_none, reason = self._faults.get(key, (now, False, ""))
            if until <= now:
                self._faults.pop(key, None)
                return
        raise NoPolicy(reason) if is_none else CouldNotTell(f"not asked again so soon: {reason}")


def _id(answer: Answer) -> str:
    """The id of the policy that there should be; raises NoPolicy or CouldNotTell."""
    if answer.is_unknown:
        raise CouldNotTell(answer.reason)
    wanted = policy_id(answer.texts) if answer.is_found else None
    if wanted is None:
        raise NoPolicy("a malformed record" if answer.is_found else "no record")
    return wanted


def _with_policy(domain: str, policy: StsPolicy, **more: Any) -> StsDomain:
    outcome = Outcome.NOT_FOUND if policy.mode is StsMode.NONE else Outcome.FOUND
    return StsDomain(domain=domain, outcome=outcome, policy=policy, **more)


def _said(one: StsDomain) -> str:
    if one.policy is None:
        return one.reason
    return f"mode {one.mode}" + (", an earlier policy" if one.is_kept else "") + (one.reason and f" ({one.reason})")


def _text(fault: Exception) -> str:
    return str(fault) or type(fault).__name__
