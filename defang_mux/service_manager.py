# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the service manager every few seconds that the event loop runs, and how the workers do.

A task of `supervisor`, started only where a service manager listens.
"""

from collections.abc import Callable
from typing import Final

import trio

from defang_common.host import notify
from defang_mux.health import filter_fault
from defang_mux.pool.ledger import Ledger
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import State

# Where no watchdog wants it sooner.
_STATUS_INTERVAL_S: Final = 10.0


def status_text(pool: Pool, ledger: Ledger) -> str:
    """One line on workers, queue and messages; before that, why all mail is put off, if it is."""
    fault = filter_fault(pool, ledger)
    put_off = "" if fault is None else f"All mail is put off: {fault}; "
    return put_off + (
        f"{pool.in_state(State.BUSY)} of {len(pool.slots)} workers busy, {pool.running} running, "
        f"{pool.queued} queued, {pool.counts.messages} messages"
    )


async def keep_informed(pool: Pool, ledger: Ledger, tell: Callable[[str], None] = notify.status) -> None:
    """For ever: the watchdog's sign, and the status where it has changed."""
    watchdog_s = notify.watchdog_interval_s()
    interval_s = min(_STATUS_INTERVAL_S, watchdog_s or _STATUS_INTERVAL_S)
    told = ""
    while True:
        if watchdog_s is not None:
            notify.alive()
        text = status_text(pool, ledger)
        if text != told:
            tell(text)
            told = text
        await trio.sleep(interval_s)
