# SPDX-License-Identifier: GPL-3.0-or-later
"""`run_filter`: one message through a filter, given as a file, a class or an object."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from defang_worker.api import filter_file, stages
from defang_worker.api.hooks import Filter, FilterFault
from defang_worker.testing.builder import MessageBuilder
from defang_worker.trial.play import play
from defang_worker.trial.session import Session

if TYPE_CHECKING:
    from defang_worker.api.hooks import SiteFilter
    from defang_worker.trial.result import Result

    AnyFilter = str | os.PathLike[str] | type[Filter] | Filter


class FilterFailed(AssertionError):
    """The filter raised, or could not be used; `result` is what became of the message then, if it came to that."""

    def __init__(self, text: str, result: Result | None = None) -> None:
        super().__init__(text)
        self.result = result


def run_filter(
    message: MessageBuilder | bytes,
    filter: AnyFilter,  # noqa: A002
    *,
    may_fail: bool = False,
    strict: bool = True,
    **session: Any,
) -> Result:
    """What becomes of a message if the filter is asked about it, with `on_start` before and `on_stop` behind.

    `filter` is the path of a filter file, a subclass of `Filter`, or an object of one. The other keywords are the
    fields of `Session`: sender, recipients, relay_ip and so on. All callbacks that the filter has are called, as if
    `defang-milter` had the options for them.

    A call in a callback in which it has no effect raises `WrongStage` in the filter; without `strict` it is logged and
    ignored, as in service.

    Raises FilterFailed, with the filter's traceback, for a filter that raises or cannot be loaded; with `may_fail` one
    that raises gives a result with `fault`, which is what the client would see: a temporary failure.
    """
    raw = message if isinstance(message, bytes) else message.bytes()
    try:
        site = _loaded(filter)
        if site.has("on_start"):
            site.call("on_start")
        with stages.strict() if strict else nullcontext():
            result = play(site, raw, Session(**session))
        if site.has("on_stop"):
            site.call("on_stop")
    except (filter_file.FilterNotLoaded, FilterFault) as fault:
        raise FilterFailed(str(fault)) from fault.__cause__
    if result.fault is not None and not may_fail:
        raise FilterFailed(f"{result.fault.text}\n{result.fault.traceback}".rstrip(), result)
    return result


def _loaded(given: AnyFilter) -> SiteFilter:
    if isinstance(given, str | os.PathLike):
        return filter_file.load(os.fspath(given))
    return filter_file.of_class(given)
