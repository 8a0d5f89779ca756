# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that the multiplexor answers itself, as one table (protocol.md, Control commands).

A line is a command only if it is exactly one; everything else is for a worker.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from defang_common.wire import abilities, percent
from defang_mux import health, reports, transactions
from defang_mux.pool.ledger import Ledger
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import COUNTED, Kind

UNKNOWN: Final = b"error: Unknown command\n"
NO_TICK: Final = b"error: External agents may not invoke 'tick'\n"
NOT_HERE: Final = b"error: Attempt to use privileged command on unprivileged socket\n"
REREAD: Final = b"Forced reread of filter rules\n"
BAD_BACK: Final = b"error: Invalid 'back' amount (must be 10-600)\n"
BAD_COUNT: Final = b"error: Invalid number of requests\n"
BAD_NUMBER: Final = b"error: Invalid worker number\n"
NO_SUCH_WORKER: Final = b"error: Worker number out of range\n"

_LOAD_KINDS: Final = {b"": Kind.SCAN} | {b"-" + kind.value.encode(): kind for kind in COUNTED if kind is not Kind.SCAN}

Report = Callable[[Pool, float], bytes]


@dataclass(frozen=True, slots=True)
class Help:
    """A line of `help`; `privileged` ones are not shown where they are refused."""

    usage: str
    words: str
    privileged: bool = False


HELP: Final = (
    Help("help", "list these commands"),
    Help("status", "state of each worker"),
    Help("rawstatus", "the same, for programs"),
    Help("barstatus", "the same, as a bar"),
    Help("jsonstatus", "the same, as JSON"),
    Help("free", "number of workers that could take a request"),
    Help("workers", "workers with their process IDs"),
    Help("busyworkers", "busy workers with their process IDs"),
    Help("workerinfo n", "all about worker n"),
    Help("load", "scans of the last ten minutes"),
    Help("load-relayok", "relay checks, likewise"),
    Help("load-senderok", "sender checks, likewise"),
    Help("load-recipok", "recipient checks, likewise"),
    Help("load1 secs", "all kinds over the last secs seconds (10 to 600)"),
    Help("hload", "scans of the last day; also hload-relayok, -senderok, -recipok"),
    Help("rawload", "raw before any load or hload command: for programs"),
    Help("jsonload1 secs", "load1 as JSON"),
    Help("histo", "how often how many workers were busy"),
    Help("msgs", "messages scanned since the start"),
    Help("health", "whether all is well, for monitors"),
    Help("protections", "what workers are kept from, and how far"),
    Help("version", "version of the multiplexor"),
    Help("autoscale", "how the number of workers follows the load", privileged=True),
    Help("why id", "what was asked about a message lately, and what came of it", privileged=True),
    Help("slow n", "the n slowest requests of late (10 without n)", privileged=True),
    Help("reread", "replace all workers, so that the filter is read anew", privileged=True),
    Help("scan id dir", "filter a message (for the front end)", privileged=True),
)


def help_text(*, privileged: bool) -> bytes:
    """The reply to `help`."""
    shown = (row for row in HELP if privileged or not row.privileged)
    return "".join(f"{row.usage:<17}-- {row.words}\n" for row in shown).encode()


def reread_reply(fault: str | None, note: str | None) -> bytes:
    """The reply to `reread`: done, or why not, on as many lines as that takes; and what was not read, in a note."""
    reply = REREAD if fault is None else f"error: {fault}\n".encode("utf-8", "backslashreplace")
    return reply if note is None else reply + f"note: {note}\n".encode("utf-8", "backslashreplace")


def _plain_reports(version: str) -> dict[bytes, Report]:
    def workers(pool: Pool, now: float) -> bytes:
        return reports.workers(pool, now, busy_only=False)

    def busy_workers(pool: Pool, now: float) -> bytes:
        return reports.workers(pool, now, busy_only=True)

    table: dict[bytes, Report] = {
        b"free": lambda pool, _now: reports.free(pool),
        # Without a newline, as MIMEDefang's.
        b"version": lambda _pool, _now: version.encode(),
        b"tick": lambda _pool, _now: NO_TICK,
        b"status": reports.status,
        b"workers": workers,
        b"slaves": workers,
        b"busyworkers": busy_workers,
        b"busyslaves": busy_workers,
        b"histo": lambda pool, _now: reports.busy_histogram(pool),
        b"msgs": lambda pool, _now: reports.messages(pool),
        # From a front end of ours.
        abilities.QUESTION_TO_MUX: lambda _pool, _now: abilities.encode(abilities.ALL),
        # Monitors send it behind other commands, as an end mark.
        b"foo_no_such_command": lambda _pool, _now: UNKNOWN,
        # No worker is bothered for nothing.
        b"": lambda _pool, _now: UNKNOWN,
    }
    for suffix, kind in _LOAD_KINDS.items():
        table[b"load" + suffix] = partial(reports.load, kind)
        table[b"hload" + suffix] = partial(reports.hload, kind)
    return table


class Control:
    """Answers commands from the pool's records and the ledger."""

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        *,
        version: str,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
        protections: bytes = b"",
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._clock = clock
        self._wall_clock = wall_clock
        self._reports = _plain_reports(version)
        self._reports[b"protections"] = lambda _pool, _now: protections
        self._reports[b"health"] = lambda pool, now: health.report(pool, ledger, now)

    def reply(self, line: bytes, *, privileged: bool) -> bytes | None:
        """The reply to a command; None, for `privileged` callers only, if it is `reread` or a worker's affair."""
        report = self._reports.get(line)
        if report is not None:
            return report(self._pool, self._clock())
        word, _, rest = line.partition(b" ")
        # Without their number too: a worker knows no better.
        if word == b"load1":
            return self._load1(rest)
        if word in (b"workerinfo", b"slaveinfo"):
            return self._worker_info(rest)
        if line == b"help":
            return help_text(privileged=privileged)
        return self._privileged(line) if privileged else NOT_HERE

    def _privileged(self, line: bytes) -> bytes | None:
        word, _, rest = line.partition(b" ")
        if word == b"why":
            return transactions.why(self._ledger, percent.decode(rest.strip()), self._epoch_offset_s())
        if word == b"slow":
            return self._slow(rest)
        if line == b"autoscale":
            return reports.autoscale(self._pool)
        return None

    def _slow(self, argument: bytes) -> bytes:
        count = _leading_number(argument) if argument else transactions.SLOWEST_SHOWN
        if count is None or count < 0:
            return BAD_COUNT
        return transactions.slow(self._ledger, count, self._epoch_offset_s())

    def _epoch_offset_s(self) -> float:
        # Not that of the start: a clock that was wrong then, as at many a machine's, has been set since.
        return self._wall_clock() - self._clock()

    def _load1(self, argument: bytes) -> bytes:
        seconds = _leading_number(argument)
        if seconds is None or not reports.MIN_BACK_S <= seconds <= reports.MAX_BACK_S:
            return BAD_BACK
        return reports.load1(self._pool, seconds, self._clock())

    def _worker_info(self, argument: bytes) -> bytes:
        number = _leading_number(argument)
        if number is None:
            return BAD_NUMBER
        if not 0 <= number < len(self._pool.slots):
            return NO_SUCH_WORKER
        return reports.worker_info(self._pool, number, self._clock())


def _leading_number(argument: bytes) -> int | None:
    """The first word as a number; None if it is none. Words behind it do not matter."""
    words = argument.split()
    try:
        return int(words[0])
    except (IndexError, ValueError):
        return None
