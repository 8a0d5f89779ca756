# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests that are about no mail, each to its answer line: lookups in tables, ticks, the site's own commands.

A fault of the filter is logged, and is a temporary failure of a lookup, or an error line.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from defang_common.wire import answers, state
from defang_common.wire.answers import LookupStatus
from defang_common.wire.errors import Malformed, Unencodable
from defang_worker.api.hooks import FilterFault
from defang_worker.api.lookup import CommandFailed, Lookup
from defang_worker.api.words import to_bytes, to_text

if TYPE_CHECKING:
    from defang_common.wire.requests import Map, Own, Tick
    from defang_worker.api.hooks import SiteFilter

_log: Final = logging.getLogger("defang.worker")

UNKNOWN_COMMAND: Final = answers.encode_error("Unknown command")
_NO_SUCH_MAP: Final = answers.encode_lookup(LookupStatus.PERM, b"no such map")
_FAULT: Final = answers.encode_lookup(LookupStatus.TEMP, b"the filter has a problem")


def look_up(site: SiteFilter, request: Map) -> bytes:
    """The answer to a lookup of the mail server."""
    if not site.has("filter_map"):
        return _NO_SUCH_MAP
    try:
        found = site.call("filter_map", to_text(request.table), to_text(request.key))
        if isinstance(found, Lookup):
            return answers.encode_lookup(found.status, to_bytes(found.text))
        _log.error("filter_map: %s: returned %.100r, not a Lookup", site.path, found)
    except (FilterFault, Unencodable) as fault:
        _tell(fault)
    return _FAULT


def tick(site: SiteFilter, request: Tick) -> bytes:
    """The answer to a tick."""
    kind = to_text(request.kind)
    if not kind.isdecimal():
        raise Malformed(f"tick: no number: {kind[:100]!r}")
    if not site.has("filter_tick"):
        return answers.encode_error(f"tick {int(kind)}: this filter has no ticks")
    try:
        site.call("filter_tick", int(kind))
    except FilterFault as fault:
        _tell(fault)
        return answers.encode_error(str(fault))
    return answers.encode_tock(int(kind))


def own(site: SiteFilter, request: Own) -> bytes:
    """The answer to a command of the site's own."""
    is_ours = request.command in (b"", state.QUESTION_TO_MUX)
    if is_ours or not site.has("filter_unknown_command"):
        return UNKNOWN_COMMAND
    try:
        text = site.call("filter_unknown_command", to_text(request.command), tuple(map(to_text, request.words)))
        if text is None:
            return UNKNOWN_COMMAND
        if isinstance(text, str):
            return answers.encode_own(to_bytes(text))
        fault: Exception = FilterFault(
            f"filter_unknown_command: {site.path}: returned {text!r:.100}, not a text or None"
        )
    except (FilterFault, Unencodable) as raised:
        if isinstance(raised.__cause__, CommandFailed):
            return answers.encode_error(str(raised.__cause__))
        fault = raised
    _tell(fault)
    return answers.encode_error(str(fault))


def _tell(fault: Exception) -> None:
    _log.error("%s", fault, exc_info=fault.__cause__)
