# SPDX-License-Identifier: GPL-3.0-or-later
"""The load: concurrent SMTP sessions over the milter protocol, each of one message, and how long each took.

It tells of the client's side only; what the servers spend meanwhile is measured in `processes.py`.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field

from defang_worker.trial.mta_message import AddHeader, Message
from tests.support.mta import Milter, MilterError, Outcome, Verdict

# Both filters add this field, so that a message that went through unfiltered is noticed.
MARK = b"X-Filtered"
ANSWER_LIMIT_S = 60.0


class LoadFailed(Exception):
    """A message was not answered as it must be: a measurement of such a run would mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent: `count` messages to the milter at `address`, `sessions` at a time."""

    address: str
    message: Message
    count: int
    sessions: int


@dataclass(slots=True, kw_only=True)
class Timing:
    """Seconds of each message, from connect to the end of the session, and of the whole run."""

    latencies_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0


def run(load: Load) -> Timing:
    """Send it all. LoadFailed, after every session ended, if any message was lost, refused or not filtered."""
    timing = Timing()
    numbers = iter(range(load.count))
    failures: list[str] = []

    def session() -> None:
        for number in numbers:
            begun = time.perf_counter()
            try:
                _send(load, number)
            except (MilterError, LoadFailed) as error:
                failures.append(f"message {number}: {error}")
                return
            timing.latencies_s.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=session) for _ in range(load.sessions)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timing.wall_s = time.perf_counter() - begun
    if failures or len(timing.latencies_s) != load.count:
        raise LoadFailed(f"{len(failures)} sessions failed, the first with {failures[:1]}")
    return timing


_SERIAL = itertools.count()


def _send(load: Load, number: int) -> None:
    # A queue ID must be new for each message: working directories are named after it.
    queue_id = b"B%08d" % next(_SERIAL)
    with Milter(load.address, timeout_s=ANSWER_LIMIT_S) as milter:
        outcome = milter.send(load.message, queue_id=queue_id)
    check(outcome, number)


def check(outcome: Outcome, number: int) -> None:
    """LoadFailed unless the message was accepted with the filter's mark."""
    if outcome.verdict is not Verdict.ACCEPT:
        raise LoadFailed(f"{outcome.verdict.name} at {outcome.stage.name} instead of an acceptance, {outcome.reply}")
    if not any(isinstance(change, AddHeader) and change.name == MARK for change in outcome.changes):
        raise LoadFailed(f"message {number} was accepted without the filter's {MARK.decode()}")
