# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps messages that kill their workers from the next one: looks at the message behind a death, and before a scan.

Rules are in `pool.poison`, files in `evidence`; here is what connects them. Called by `crew`. A scan costs nothing as
long as no message has killed, and then a look at a file's size.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from logging import Logger
from pathlib import Path
from typing import Final, assert_never

import trio

from defang_common.wire import requests, results
from defang_common.wire.answers import SCAN_OK
from defang_common.wire.errors import WireError
from defang_common.wire.results import Result
from defang_common.wire.state import split
from defang_mux.log_prefix import log_prefix
from defang_mux.pool.poison import PoisonMemory, Suspect, is_order
from defang_mux.process import evidence
from defang_mux.process.exchange import Fault, TimedOut, Unseen
from defang_mux.process.slot import Worker

TEMPFAIL_TEXT: Final = b"The mail filter fails on this message; the postmaster has a copy of it"
REJECT_TEXT: Final = b"This message cannot be filtered, and is not accepted without"
WARNING_HEADER: Final = b"X-Defang-Warning"
WARNING_TEXT: Final = b"not scanned: the mail filter fails on this message"

# The end of its output is seen a moment before the end of the process.
_EXIT_WAIT_S: Final = 2.0
# Beyond the second that `stack` gives it.
_STACK_WAIT_S: Final = 2.0
# Of files, of a request's words, and of a system that has no thread left for us; none of them is to cost a reply.
_FAULTS: Final = (OSError, WireError, RuntimeError)


class Outcome(StrEnum):
    """What becomes of a condemned message."""

    TEMPFAIL = "tempfail"
    QUARANTINE = "quarantine"
    REJECT = "reject"
    NONE = "none"
    """It is given another worker each time, as MIMEDefang does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonOrders:
    """What the guard needs of the settings: the outcome, and the directory for bundles."""

    outcome: Outcome
    store: Path


class PoisonGuard:
    """One for the program. `scanned` tells how many scans went well since the start."""

    def __init__(self, orders: PoisonOrders, scanned: Callable[[], int], log: Logger) -> None:
        self._orders = orders
        self._scanned = scanned
        self._log = log
        self.memory = PoisonMemory()
        # Of many messages that lose their workers at once, as by a scanner that hangs: one would take another's copy,
        # which is not complete, for one that was left by a crash.
        self._one_at_a_time = trio.CapacityLimiter(1)
        self.refused = 0
        """How often a condemned message was not given a worker."""

    async def refusal(self, line: bytes) -> bytes | None:
        """The reply to a scan of a condemned message, with RESULTS written; None if a worker is to have it.

        Whatever cannot be found out is left to a worker.
        """
        try:
            request = _scan_request(line)
            directory = _path(request)
            if not self.memory.may_know(evidence.size_of(directory), trio.current_time()):
                return None
            content = await trio.to_thread.run_sync(evidence.content_of, directory)
            suspect = self.memory.condemned(content, now=trio.current_time(), scanned=self._scanned())
            if suspect is None:
                return None
            evidence.write_results(directory, self._results())
        except _FAULTS as error:
            self._log.warning("%s%s", log_prefix(line), f"not compared with messages that killed workers: {error}")
            return None
        self.refused += 1
        self._log.error(
            "%sPoison message: %s, without a worker: it has cost %d before, the last one %s",
            log_prefix(line), self._orders.outcome.value, suspect.deaths, suspect.cause,
        )  # fmt: skip
        return SCAN_OK

    async def look_into(self, worker: Worker, failure: Unseen | Fault | TimedOut) -> None:
        """To be called before the client of a scan hears of the failure, for its working directory goes then."""
        if self._orders.outcome is Outcome.NONE:
            return
        line, said = worker.line, worker.said
        match failure:
            case TimedOut():
                with trio.move_on_after(_STACK_WAIT_S):
                    await worker.stack_heard.wait()
                cause = "did not answer in time"
            case Fault(died=True):
                with trio.move_on_after(_EXIT_WAIT_S):
                    await worker.exited.wait()
                if not worker.exited.is_set() or _was_told(worker.exit_status):
                    return
                cause = worker.how_it_ended()
            case Unseen() | Fault():
                # It did not see the message, or was found wanting by us.
                return
            case _:
                assert_never(failure)
        await self._remember(line, f"worker {worker.slot.number} (pid {worker.pid}) {cause}", said)

    async def _remember(self, line: bytes, cause: str, said: list[str]) -> None:
        prefix = log_prefix(line)
        try:
            directory = _path(_scan_request(line))
            content = await trio.to_thread.run_sync(evidence.content_of, directory)
            suspect = self.memory.died(content, cause, now=trio.current_time(), scanned=self._scanned())
            self._log.error("%sMessage %.20s has cost %s: %s", prefix, content.digest, _workers(suspect), cause)
            if self.memory.blames_filter(trio.current_time()):
                self._log.error("%sSo many different messages cost workers that none is blamed: see the filter", prefix)
            death = "".join(f"{text}\n" for text in (_headline(prefix, cause), *said))
            keep = partial(evidence.keep, directory, content, self._orders.store, death)
            bundle = await trio.to_thread.run_sync(keep, limiter=self._one_at_a_time)
            if bundle.is_new:
                self._log.info("%sMessage kept, to try it: defang-worker test-mail %s", prefix, bundle.path)
        except evidence.NotKept as error:
            self._log.warning("%sMessage not kept: %s", prefix, error)
        except _FAULTS as error:
            self._log.error("%sMessage that cost a worker not remembered or not kept: %s", prefix, error)

    def _results(self) -> list[Result]:
        match self._orders.outcome:
            case Outcome.TEMPFAIL:
                return [results.Tempfail(code=b"451", dsn=b"4.3.0", text=TEMPFAIL_TEXT)]
            case Outcome.REJECT:
                return [results.Bounce(code=b"554", dsn=b"5.6.0", text=REJECT_TEXT)]
            case Outcome.QUARANTINE:
                return [
                    results.Quarantine(reason=WARNING_TEXT),
                    results.AddHeader(name=WARNING_HEADER, value=WARNING_TEXT),
                    results.Finish(),
                ]
            case Outcome.NONE:
                raise AssertionError("nothing is remembered, so nothing is refused")
            case _:
                assert_never(self._orders.outcome)


def _scan_request(line: bytes) -> requests.Scan:
    request = requests.decode(split(line)[0])
    assert isinstance(request, requests.Scan)
    return request


def _path(request: requests.Scan) -> str:
    return request.directory.decode("utf-8", "surrogateescape")


def _was_told(status: int) -> bool:
    return os.WIFSIGNALED(status) and is_order(os.WTERMSIG(status))


def _workers(suspect: Suspect) -> str:
    return "a worker" if suspect.deaths == 1 else f"{suspect.deaths} workers"


def _headline(prefix: str, cause: str) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {prefix}{cause}"
