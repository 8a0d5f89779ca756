# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker process in a slot: its pipes, what it says, how it ended. The pool's record of it is `pool.state.Slot`.

Made by `crew` at a start and forgotten when the process is gone.
"""

import os
import select
import signal
from collections.abc import Callable
from logging import Logger, getLevelNamesMapping
from resource import struct_rusage
from typing import Final

import trio

from defang_common.wire import severity
from defang_common.wire.abilities import Abilities
from defang_mux.log_prefix import log_prefix
from defang_mux.pool.state import Slot, State
from defang_mux.process.chatter import LineReader, tag_of
from defang_mux.process.kill import signal_group
from defang_mux.process.metered import Meter
from defang_mux.process.spawn import Pipes

# Of a request; a stack has some thirty.
_MOST_KEPT_LINES: Final = 100
# Of a request, too, for the ledger keeps those of thousands of requests.
_MOST_KEPT_CHARACTERS: Final = 16_384


class Worker:
    """A running process, or one that is about to run; satisfies `exchange.Peer`."""

    def __init__(
        self, slot: Slot, pipes: Pipes, log: Logger, tagged: Callable[[int, bytes], None] | None = None
    ) -> None:
        self.slot = slot
        self._log = log
        self._tagged = tagged
        self.pid: int | None = None
        """None until it runs; what is written to it before waits in its pipe."""
        self.unborn_because: str | None = None
        """Why there will be no process; None while there may."""
        self.stdin = pipes.stdin
        self.stdout = pipes.stdout
        self.watch = select.poll()
        self.watch.register(pipes.stdout, select.POLLIN)
        self.is_asked = False
        self.interrupted = False
        self.exited = trio.Event()
        self.exit_status = 0
        self.ended_by_itself = False
        self.usage: struct_rusage | None = None
        """What it took of the machine, once it has ended."""
        self.abandoned = False
        self.wanted_for = ""
        """Why it was started."""
        self.reason: str | None = None
        """Why it is being ended; None while it is not."""
        self.abilities: Abilities | None = None
        """None while nobody has asked."""
        self.line = b""
        """The request it has or had last, for log lines."""
        self.last_words = ""
        """Its last line on standard error."""
        self.said: list[str] = []
        """What it wrote to standard error since its request came, as far as that is kept."""
        self._kept_characters = 0
        self.lines_heard = 0
        self.timed_out = False
        self.stack_heard = trio.Event()
        """Set when a worker that timed out has had its time to write its stack."""
        self._meter = Meter(self._log_line)
        self.readers = [LineReader(pipes.stderr, self._heard)]
        if pipes.status is not None:
            self.readers.append(LineReader(pipes.status, self._status))

    def takes(self, line: bytes) -> None:
        """Begins with a request."""
        self._meter.settle()
        self.line = line
        # The last request may have been answered in the moment in which its time was over.
        self.interrupted = self.abandoned
        # A new list, for the last request's record keeps its own.
        self.said = []
        self._kept_characters = 0

    def interrupt(self) -> None:
        """Has nobody wait any more for its answer; why, the other fields tell."""
        self.interrupted = True
        if self.is_asked:
            trio.lowlevel.notify_closing(self.stdin)
            trio.lowlevel.notify_closing(self.stdout)

    def how_it_ended(self) -> str:
        """In words, what waitpid told of the process."""
        if os.WIFSIGNALED(self.exit_status):
            return f"ended by signal {os.WTERMSIG(self.exit_status)}"
        return f"exited with status {os.WEXITSTATUS(self.exit_status)}"

    def what_it_took(self, usage: struct_rusage) -> str:
        """For the log: requests, seconds of the processor, and what the system counted; `maxrss` is in kilobytes."""
        return (
            f"req={self.slot.requests}, scans={self.slot.scans}, user={usage.ru_utime:.3f}, sys={usage.ru_stime:.3f}, "
            f"nswap={usage.ru_nswap}, majflt={usage.ru_majflt}, minflt={usage.ru_minflt}, maxrss={usage.ru_maxrss}, "
            f"bi={usage.ru_inblock}, bo={usage.ru_oublock}"
        )

    def log_prefix(self) -> str:
        """The queue ID of its request with a colon, or nothing."""
        return log_prefix(self.line)

    def signal(self, number: signal.Signals) -> None:
        """Signals it and what it started, if it runs."""
        if self.pid is not None:
            signal_group(self.pid, number)

    def hang_up(self) -> None:
        """Closes its input, which asks it to end; once is enough."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def close(self) -> None:
        """Takes in what it still said, and closes its pipes."""
        for reader in self.readers:
            reader.drain()
        self._meter.settle()
        self.hang_up()
        os.close(self.stdout)

    def _heard(self, line: bytes) -> None:
        if line:
            written = line.decode("utf-8", "backslashreplace")
            _, text = severity.split(written)
            self.last_words = text
            self.lines_heard += 1
            if len(self.said) < _MOST_KEPT_LINES and self._kept_characters < _MOST_KEPT_CHARACTERS:
                self.said.append(text[: _MOST_KEPT_CHARACTERS - self._kept_characters])
                self._kept_characters += len(text)
            # Always, for a filter's fault stands nowhere else.
            self._meter.take(written, trio.current_time())

    def _log_line(self, written: str) -> None:
        level, text = severity.split(written)
        prefix = self.log_prefix()
        # Ours begin with it too.
        text = text.removeprefix(prefix)
        self._log.log(getLevelNamesMapping()[level], "%sWorker %d stderr: %s", prefix, self.slot.number, text)

    def _status(self, line: bytes) -> None:
        # Gossip, for display only, and nothing once the request is done.
        if self.slot.state is State.BUSY:
            self.slot.tag = tag_of(line)
            if self._tagged is not None:
                self._tagged(self.slot.number, self.slot.tag)
