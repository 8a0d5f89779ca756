# SPDX-License-Identifier: GPL-3.0-or-later
"""`inner_job`: a check that runs within another one, whose result has its own, as DMARC has SPF's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import CheckResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from defang_worker.api.message import Message
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Check

__all__ = ["inner_job"]

_Result = TypeVar("_Result", bound=CheckResult)


def inner_job(check: Check[Any, _Result], subject: Message) -> Callable[[Deadline], _Result]:
    """What gives a check's result, as unknown if it cannot tell; it takes from the subject what it needs now."""
    prepared = check.prepare(subject)
    if isinstance(prepared, CheckResult):
        result = prepared
        return lambda _: result

    def ask(deadline: Deadline) -> _Result:
        try:
            return prepared(deadline)
        except (TimeoutError, CouldNotTell, OSError) as fault:
            return check.unknown(str(fault) or type(fault).__name__)  # type: ignore[no-any-return]

    return ask
