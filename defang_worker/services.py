# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests that are about no mail, each to its answer line: lookups in tables, ticks, the site's own commands.

A fault of the filter is logged, and is a temporary failure of a lookup, or an error line.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from defang_common.wire import abilities, answers
from defang_common.wire.answers import LookupStatus
from defang_common.wire.errors import Malformed, Unencodable
from defang_worker.api.hooks import FilterFault
from defang_worker.api.lookup import NO_SUCH_MAP, CommandFailed, Lookup
from defang_worker.api.words import to_bytes, to_text

if TYPE_CHECKING:
    from defang_common.wire.requests import Map, Own, Tick
    from defang_worker.api.hooks import SiteFilter

_log: Final = logging.getLogger("defang.worker")

UNKNOWN_COMMAND: Final = answers.encode_error("Unknown command")
_FAULT: Final = answers.encode_lookup(LookupStatus.TEMP, b"the filter has a problem")


def look_up(site: SiteFilter, request: Map) -> bytes:
    """The answer to a lookup of the mail server."""
    if not site.has("filter_map"):
        return encoded_lookup(NO_SUCH_MAP)
    try:
        return encoded_lookup(find(site, to_text(request.table), to_text(request.key)))
    except (FilterFault, Unencodable) as fault:
        _tell(fault)
    return _FAULT


def find(site: SiteFilter, table: str, key: str) -> Lookup:
    """What `filter_map` says; raises FilterFault."""
    found = site.call("filter_map", table, key)
    if not isinstance(found, Lookup):
        raise FilterFault(f"filter_map: {site.path}: returned {found!r:.100}, not a Lookup")
    return found


def encoded_lookup(found: Lookup) -> bytes:
    """The line for it; raises Unencodable."""
    return answers.encode_lookup(found.status, to_bytes(found.text))


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
    is_ours = request.command in (b"", abilities.QUESTION_TO_MUX)
    if is_ours or not site.has("filter_unknown_command"):
        return UNKNOWN_COMMAND
    try:
        text = carry_out(site, to_text(request.command), tuple(map(to_text, request.words)))
        return UNKNOWN_COMMAND if text is None else encoded_command(text)
    except CommandFailed as refusal:
        return answers.encode_error(str(refusal))
    except (FilterFault, Unencodable) as fault:
        _tell(fault)
        return answers.encode_error(str(fault))


def carry_out(site: SiteFilter, command: str, words: tuple[str, ...]) -> str | None:
    """What `filter_unknown_command` says; raises FilterFault, or the CommandFailed that it raised."""
    try:
        text = site.call("filter_unknown_command", command, words)
    except FilterFault as fault:
        if isinstance(fault.__cause__, CommandFailed):
            raise fault.__cause__ from None
        raise
    if text is None or isinstance(text, str):
        return text
    raise FilterFault(f"filter_unknown_command: {site.path}: returned {text!r:.100}, not a text or None")


def encoded_command(text: str) -> bytes:
    """The line for what a command shows; raises Unencodable."""
    return answers.encode_own(to_bytes(text))


def _tell(fault: Exception) -> None:
    _log.error("%s", fault, exc_info=fault.__cause__)
