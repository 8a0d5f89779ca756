# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs checks side by side within a budget, and gives a result for each, whatever happens to any of them.

`api/run_checks.py` calls it, and applies the failure policies; here every failure only becomes the outcome UNKNOWN.
Logs are written here, by the worker's own thread, for the queue ID on a line is that of the request being served.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from defang_worker.checks.check import Check
from defang_worker.checks.crew import CREW, Ended, Hung
from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import CheckResult

if TYPE_CHECKING:
    from defang_worker.checks.budget import Budget, Deadline
    from defang_worker.checks.check import Job

__all__ = ["Results", "run"]

_log: Final = logging.getLogger("defang.worker")

_Result = TypeVar("_Result", bound=CheckResult)


class Results:
    """The results of checks that ran together, by check, or by a check's name; iterating gives them in their order."""

    __slots__ = ("_by_name",)

    def __init__(self, results: Sequence[CheckResult]) -> None:
        self._by_name = {result.check: result for result in results}

    def __getitem__(self, check: Check[Any, _Result]) -> _Result:
        """The result of that check; raises KeyError if it did not run here."""
        return cast("_Result", self._by_name[check.name])

    def named(self, name: str) -> CheckResult:
        """The result of the check of that name; raises KeyError."""
        return self._by_name[name]

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def found(self) -> tuple[CheckResult, ...]:
        """The results of those that found what they look for."""
        return tuple(result for result in self if result.is_found)

    @property
    def unknown(self) -> tuple[CheckResult, ...]:
        """The results of those that could not tell."""
        return tuple(result for result in self if result.is_unknown)


def run(checks: Sequence[Check[Any, Any]], subject: object, budget: Budget) -> Results:
    """All results; raises ValueError for checks of the same name, and whatever `prepare` of a check raises."""
    names = [check.name for check in checks]
    if len({*names}) < len(names):
        raise ValueError(f"checks that run together need names of their own: {', '.join(names)}")
    results: dict[str, CheckResult] = {}
    jobs: list[tuple[Check[Any, Any], Job[CheckResult], Deadline]] = []
    for check in checks:
        prepared = _prepared(check, subject, budget)
        if isinstance(prepared, CheckResult):
            results[check.name] = prepared
        else:
            jobs.append((check, prepared, budget.deadline(check.timeout_s, time.monotonic())))
    ended = CREW.run([(_bound(job, deadline), deadline.at) for _, job, deadline in jobs])
    for (check, _, _), one in zip(jobs, ended, strict=True):
        results[check.name] = _result(check, one)
    in_order = [results[name] for name in names]
    _tell(checks, in_order)
    return Results(in_order)


def _prepared(check: Check[Any, Any], subject: object, budget: Budget) -> Job[CheckResult] | CheckResult:
    now = time.monotonic()
    if budget.is_spent(now):
        return cast("CheckResult", check.unknown("the time for checks of this message is over"))
    circuits = check.circuits
    if circuits and all(circuit.is_resting(now) for circuit in circuits):
        return cast("CheckResult", check.unknown(f"not asked: {circuits[0].reason}"))
    started = time.monotonic()
    prepared = check.prepare(subject)
    if isinstance(prepared, CheckResult):
        return replace(prepared, elapsed_s=time.monotonic() - started)
    return cast("Job[CheckResult]", prepared)


def _bound(job: Job[CheckResult], deadline: Deadline) -> Any:
    return lambda: job(deadline)


def _result(check: Check[Any, Any], one: Ended | Hung) -> CheckResult:
    """The result that a job gave, or what its failure makes of it."""
    result: CheckResult
    match one:
        case Ended(value=CheckResult() as given):
            result = given
        case Ended(fault=(TimeoutError() | CouldNotTell() | OSError()) as fault):
            result = check.unknown(str(fault) or type(fault).__name__)
        case Ended(fault=BaseException() as fault):
            _log.error("check %s failed", check.name, exc_info=fault)
            result = check.unknown(f"{type(fault).__name__}: {fault}")
        case Ended(value=value):
            result = check.unknown(f"no result but {value!r:.100}")
        case Hung(is_begun=True):
            reason = "no answer in time"
            check.gave_up(reason)
            result = check.unknown(reason)
        case _:
            result = check.unknown("not begun, for too many earlier checks hang")
    return replace(result, elapsed_s=one.took_s)


def _tell(checks: Sequence[Check[Any, Any]], results: Sequence[CheckResult]) -> None:
    for check in checks:
        for circuit in check.circuits:
            for news in circuit.take_news():
                _log.warning("check %s: %s", check.name, news)
    for result in results:
        detail = result.detail and f": {result.detail}"
        if result.unchecked:
            detail += f" (not all could be checked: {result.unchecked})"
        _log.info("check %s: %s in %.1f ms%s", result.check, result.outcome, result.elapsed_s * 1000, detail)
