# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether all is well, for monitors: one level, and the reasons for it.

Pure: pool and ledger in, JSON out (protocol.md, Health). `ctl_questions` makes a line and an exit status of it.
"""

import json
from collections import Counter
from collections.abc import Iterator
from enum import IntEnum
from itertools import takewhile
from typing import Final

from defang_common.wire import requests
from defang_common.wire.errors import WireError
from defang_mux.pool.ledger import Entry, Ledger, Outcome
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Kind, State

WINDOW_S: Final = 300
"""How far back faults count."""

# One message that fails is a message's fault until more do.
_LOST_SCANS_TO_BE_CRITICAL: Final = 5


class Level(IntEnum):
    """A monitor's exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


_LINE_END: Final = "\n"

_FAULTS: Final = {
    Outcome.REFUSED: "requests refused for want of a worker",
    Outcome.FAILED: "requests lost with their worker",
    Outcome.ERROR: "requests on which the filter failed",
    Outcome.POISON: "scans of messages that have cost workers",
}


def report(pool: Pool, ledger: Ledger, now: float) -> bytes:
    """One line of JSON."""
    found = sorted(_findings(pool, ledger, now), key=lambda finding: -finding[0])
    level = found[0][0] if found else Level.OK
    facts = {
        "level": level.value,
        "status": level.name.lower(),
        "reasons": [text for _, text in found],
        "workers": len(pool.slots),
        "busy": pool.in_state(State.BUSY),
        "queued": pool.queued,
        "messages": pool.counts.messages,
        "uptime_s": int(now - pool.started_at),
        "filter_fault": filter_fault(pool, ledger),
        "tries_filter": ledger.tries_filter,
    }
    return json.dumps(facts).replace("%", "\\u0025").encode("ascii") + b"\n"


def filter_fault(pool: Pool, ledger: Ledger) -> str | None:
    """Why there are no workers, as far as it is the filter's fault."""
    if ledger.filter_fault is not None:
        return f"the filter cannot be loaded: {ledger.filter_fault.partition(_LINE_END)[0]}"
    if pool.delayed_starts:
        return "workers die before their first answer: see the log for the filter's fault"
    return None


def _findings(pool: Pool, ledger: Ledger, now: float) -> Iterator[tuple[Level, str]]:
    fault = filter_fault(pool, ledger)
    if fault is not None:
        yield Level.CRITICAL, fault
    if ledger.reread_fault is not None:
        yield Level.WARNING, f"the filter was not read anew: {ledger.reread_fault.partition(_LINE_END)[0]}"
    if pool.in_state(State.BUSY) == len(pool.slots):
        yield Level.WARNING, "all workers are busy"
    if pool.queued and 2 * pool.queued >= pool.limits.queue_size:
        yield Level.WARNING, f"{pool.queued} of {pool.limits.queue_size} places in the queue are taken"
    recent = list(takewhile(lambda entry: entry.ended_at > now - WINDOW_S, reversed(ledger.recent)))
    scans = Counter(entry.outcome for entry in recent if entry.kind is Kind.SCAN)
    if not scans[Outcome.ANSWERED] and scans.total() >= _LOST_SCANS_TO_BE_CRITICAL:
        yield Level.CRITICAL, f"none of {scans.total()} scans went well in the last {WINDOW_S // 60} minutes"
    outcomes = Counter(entry.outcome for entry in recent if not _is_refused_command(entry))
    for outcome, words in _FAULTS.items():
        if outcomes[outcome]:
            yield Level.WARNING, f"{outcomes[outcome]} {words} in the last {WINDOW_S // 60} minutes"


def _is_refused_command(entry: Entry) -> bool:
    """A command that the filter does not know, or refuses: whoever typed it has read so, and no mail is the worse."""
    if entry.outcome is not Outcome.ERROR:
        return False
    try:
        return isinstance(requests.decode(entry.line), requests.Own)
    except WireError:
        return False
