# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter, given as a file, a class or an object, asked once: about a message, a key, a tick or a command.

`on_start` is called before and `on_stop` behind, and what fails in the filter fails the test with its traceback.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from defang_common.wire.errors import Unencodable
from defang_worker import services
from defang_worker.api import filter_file, stages
from defang_worker.api.hooks import Filter, FilterFault
from defang_worker.testing.builder import MessageBuilder
from defang_worker.trial.play import play
from defang_worker.trial.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.api.hooks import SiteFilter
    from defang_worker.api.lookup import Lookup
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
    with _started(filter) as site, stages.strict() if strict else nullcontext():
        result = play(site, raw, Session(**session))
    if result.fault is not None and not may_fail:
        raise FilterFailed(f"{result.fault.text}\n{result.fault.traceback}".rstrip(), result)
    return result


def look_up(filter: AnyFilter, table: str, key: str) -> Lookup:  # noqa: A002
    """What the filter's `filter_map` finds under that key; raises FilterFailed if it fails or there is none."""
    with _started(filter, "filter_map") as site:
        found = services.find(site, table, key)
        # What does not fit into an answer fails here as it does in service.
        services.encoded_lookup(found)
    return found


def run_tick(filter: AnyFilter, kind: int = 0) -> None:  # noqa: A002
    """Has the filter do its `filter_tick` of that kind; raises FilterFailed if it fails or there is none."""
    with _started(filter, "filter_tick") as site:
        site.call("filter_tick", kind)


def run_command(filter: AnyFilter, command: str, *words: str) -> str | None:  # noqa: A002
    """What `md-mx-ctrl COMMAND WORD...` would show of the filter's own command; None if the filter does not know it.

    Raises CommandFailed if the filter does, and FilterFailed if it fails otherwise or has no such callback.
    """
    with _started(filter, "filter_unknown_command") as site:
        text = services.carry_out(site, command.lower(), words)
        if text is not None:
            services.encoded_command(text)
    return text


@contextmanager
def _started(given: AnyFilter, callback: str = "") -> Iterator[SiteFilter]:
    """The filter in use; what fails in it, within too, becomes FilterFailed."""
    try:
        site = _loaded(given)
        if callback and not site.has(callback):
            raise FilterFailed(f"{site.path}: no {callback} in it")
        if site.has("on_start"):
            site.call("on_start")
        yield site
        if site.has("on_stop"):
            site.call("on_stop")
    except (filter_file.FilterNotLoaded, FilterFault, Unencodable) as fault:
        raise FilterFailed(str(fault)) from fault.__cause__


def _loaded(given: AnyFilter) -> SiteFilter:
    if isinstance(given, str | os.PathLike):
        return filter_file.load(os.fspath(given))
    return filter_file.of_class(given)
