# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that do as they are told, in place of services."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from defang_worker.checks.budget import Deadline
from defang_worker.checks.check import Check, FailurePolicy, Job
from defang_worker.checks.circuit import Circuit
from defang_worker.checks.outcome import CheckResult, Outcome


class FakeCheck(Check[Any, CheckResult]):
    """Gives an outcome, raises a fault, or does whatever its job does."""

    def __init__(
        self,
        name: str = "fake",
        does: Outcome | BaseException | Callable[[Deadline], object] = Outcome.NOT_FOUND,
        *,
        on_failure: FailurePolicy | str = "tempfail",
        timeout_s: float = 10.0,
        circuit: Circuit | None = None,
        is_plain: bool = False,
    ) -> None:
        super().__init__(name, timeout_s=timeout_s, on_failure=on_failure)
        self.does = does
        self.is_plain = is_plain
        self.subjects: list[object] = []
        self.deadlines: list[Deadline] = []
        self.given_up: list[str] = []
        self._circuits = () if circuit is None else (circuit,)

    @property
    def circuits(self) -> Sequence[Circuit]:
        return self._circuits

    def gave_up(self, reason: str) -> None:
        self.given_up.append(reason)

    def prepare(self, subject: Any) -> Job[CheckResult] | CheckResult:
        assert threading.current_thread() is threading.main_thread()
        self.subjects.append(subject)
        if self.is_plain:
            assert isinstance(self.does, Outcome)
            return self.result(self.does)  # type: ignore[no-any-return]  # of this check's own type
        return self._job

    def _job(self, deadline: Deadline) -> CheckResult:
        self.deadlines.append(deadline)
        if isinstance(self.does, BaseException):
            raise self.does
        if isinstance(self.does, Outcome):
            return self.result(self.does, "as told")  # type: ignore[no-any-return]
        return self.does(deadline)  # type: ignore[return-value]  # some give nonsense
