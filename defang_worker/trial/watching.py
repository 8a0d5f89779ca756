# SPDX-License-Identifier: GPL-3.0-or-later
"""How a trial looks on while the worker's own code serves its requests: callbacks' times, the message, the log.

Nothing here changes what a filter does.
"""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from defang_worker.api.hooks import FilterFault, SiteFilter
from defang_worker.api.verdicts import CheckFailed
from defang_worker.trial.result import Fault, Timing

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from defang_worker.api.message import Message
    from defang_worker.api.verdicts import Verdict
    from defang_worker.effects.contract import Effects

_LAST_CALLBACK = "filter_wrapup"


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen during one message."""

    message: Message | None = None
    """The message, once its last callback is due."""
    answered: Verdict | None = None
    """What the last callback said."""
    timings: dict[str, Timing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedFilter(SiteFilter):
    """A filter whose callbacks are watched; `seen` is filled while it is asked."""

    seen: Seen

    @classmethod
    def of(cls, site: SiteFilter, seen: Seen, effects: Effects) -> WatchedFilter:
        """The same filter, watched, and with other effects."""
        hooks = {_LAST_CALLBACK: _nothing, **site.hooks}
        return cls(path=site.path, settings=site.settings, hooks=hooks, effects=effects, seen=seen)

    def call(self, hook: str, *arguments: Any) -> object:
        """As any filter does; the time it takes is noted."""
        if hook == _LAST_CALLBACK:
            self.seen.message = arguments[0]
        began_s = time.perf_counter()
        try:
            return SiteFilter.call(self, hook, *arguments)
        finally:
            if self.hooks[hook] is not _nothing:
                timing = self.seen.timings.setdefault(hook, Timing())
                timing.calls += 1
                timing.elapsed_ms += (time.perf_counter() - began_s) * 1000

    def ask(self, hook: str, *arguments: Any) -> Any:
        """As any filter does; what it says is noted."""
        self.seen.answered = None
        try:
            response = SiteFilter.ask(self, hook, *arguments)
        except FilterFault as fault:
            # A check that could not tell is no fault of the filter's, which answers by letting it pass.
            if isinstance(fault.__cause__, CheckFailed):
                self.seen.answered = fault.__cause__.response.verdict
            raise
        self.seen.answered = response.verdict
        return response


def _nothing(message: Message) -> None:
    """Stands in for a last callback that the filter does not have."""


class LogCapture(logging.Handler):
    """Within its `with` block, collects all log records that the service would log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self._fault: Fault | None = None
        self._level_before = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one record."""
        text = record.getMessage()
        self.lines.append(text)
        if record.levelno >= logging.ERROR:
            trace = "".join(traceback.format_exception(record.exc_info[1])) if record.exc_info else ""
            self._fault = Fault(text=text.removeprefix("temporary failure: "), traceback=trace)

    @property
    def fault(self) -> Fault:
        """The last error that was logged."""
        return self._fault or Fault(text="the worker failed and did not say why", traceback="")

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level_before = root.level
        root.setLevel(min(root.level, logging.INFO))
        root.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level_before)
