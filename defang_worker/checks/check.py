# SPDX-License-Identifier: GPL-3.0-or-later
"""`Check`, the base of all checks: a name, a limit of time, what a failure means, and how the question is asked.

A check is made once, when the filter is loaded, and serves all messages of its worker process. It never logs and
decides nothing: what is to be known goes into its result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from defang_worker.checks.outcome import CheckResult, Outcome

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.circuit import Circuit

__all__ = ["DEFAULT_TIMEOUT_S", "Check", "FailurePolicy", "Feature", "Job"]

DEFAULT_TIMEOUT_S: Final = 30.0
"""How long one check may take: half of what all checks of a message have together."""

_Subject_contra = TypeVar("_Subject_contra", contravariant=True)
_Result_co = TypeVar("_Result_co", bound=CheckResult, covariant=True)
_Any = TypeVar("_Any")
Job = Callable[["Deadline"], _Any]
"""Asks the service, in a thread of its own, and gives the result, by the deadline as far as it can; raises one of
`faults.py`, TimeoutError or OSError if it cannot tell."""


class FailurePolicy(StrEnum):
    """What becomes of the message if the check cannot tell."""

    TEMPFAIL = "tempfail"
    """It is deferred, so that its client tries again."""
    MARK = "mark"
    """It gets a header field that names the check."""
    IGNORE = "ignore"
    """Nothing but a line in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What `defang-worker features` shows of a check, or of one of the addresses of its service."""

    kind: str
    """The class of the check."""
    name: str
    address: str = ""
    """Where the service is, or the program's path."""
    is_reachable: bool | None = None
    """Whether it answers; None for what is no service."""
    version: str = ""
    """As the service tells it."""
    detail: str = ""
    """Why it cannot be reached."""


class Check(ABC, Generic[_Subject_contra, _Result_co]):
    """A question about a message (or connection, or envelope), put to a service."""

    result_type: ClassVar[type[CheckResult]] = CheckResult
    """The class of its results; it can be made of name, outcome and detail alone."""

    def __init__(
        self, name: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, on_failure: FailurePolicy | str = "tempfail"
    ) -> None:
        if not name:
            raise ValueError("a check needs a name")
        if not timeout_s > 0:
            raise ValueError(f"{name}: timeout_s is to be more than 0, not {timeout_s}")
        self.name: Final = name
        """By which logs, records and replies call it."""
        self.timeout_s: Final = timeout_s
        """How long it may take; less if the message's budget ends sooner."""
        self.on_failure: Final = FailurePolicy(on_failure)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @abstractmethod
    def prepare(self, subject: _Subject_contra) -> Job[_Result_co] | _Result_co:
        """Takes what the check needs from its subject, and gives what asks the service; or the result, if it is plain.

        This runs in the worker's own thread, the only one that may touch the subject, and may not wait for anything.
        """

    @property
    def circuits(self) -> Sequence[Circuit]:
        """The states of the services that it asks; if all of them are down, it is not asked."""
        return ()

    def gave_up(self, reason: str) -> None:
        """Its job did not even keep its deadline, and nobody waits for it any more."""

    def features(self, deadline: Deadline) -> list[Feature]:  # noqa: ARG002  # for those that ask something
        """What is there, reachable, and in which version; for `defang-worker features`."""
        return [Feature(kind=type(self).__name__, name=self.name)]

    def result(self, outcome: Outcome, detail: str = "", **more: Any) -> Any:
        """A result of this check's own type."""
        return self.result_type(check=self.name, outcome=outcome, detail=detail, **more)

    def unknown(self, detail: str) -> Any:
        """The result of this check's own type that says that it could not tell, and why."""
        return self.result(Outcome.UNKNOWN, detail)
