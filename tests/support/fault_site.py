# SPDX-License-Identifier: GPL-3.0-or-later
"""A running chain in which a test can stop a message at any stage, do something to any process, and see what it costs.

The filter is `filters/held.py`. What a test does is in tests/system/faults.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from defang_worker.trial.mta_message import AddHeader
from tests.support.daemons import Chain, Daemons
from tests.support.milter_connection import NO_MACROS, Macros
from tests.support.milter_packets import Answer
from tests.support.mta import Milter, MilterError, Outcome, Verdict
from tests.support.mux import ask
from tests.support.process import is_dead, wait_until

FILTER = Path(__file__).parent / "filters/held.py"
# A worker's callback runs.
ASKED = ("connect", "helo", "mail", "rcpt", "scan")
# Nobody is asked: the front end has a part of a message; or it had one, which was dropped, or delivered.
UNASKED = ("header", "body", "abort", "between")
STAGES = (*ASKED, *UNASKED)
VICTIMS = ("worker", "template", "mux", "milter")
# The least that the multiplexor takes.
BUSY_TIMEOUT_S = 10
ANSWER_LIMIT_S = 60
# For a message at each of `ASKED`, and more.
MOST_WORKERS = 8
CHAIN = Chain(
    filter=FILTER,
    mux_options=("-m", "1", "-x", str(MOST_WORKERS), "-b", str(BUSY_TIMEOUT_S), "-l"),
    milter_options=("-r", "-H", "-s", "-t"),
)
_MARK = AddHeader(name=b"X-Filtered", value=b"yes")
_PIPES_OF_A_WORKER = 3
_T = TypeVar("_T")


class _Dropped(Exception):
    """The MTA gives a message up."""


class _Haltable(Milter):
    """An MTA that stops at one of `UNASKED` until it may go on; at others it does not stop."""

    def __init__(self, address: str, stage: str) -> None:
        super().__init__(address, timeout_s=ANSWER_LIMIT_S)
        self._halts_at = stage
        self.halted = threading.Event()
        self.may_go_on = threading.Event()

    def play(self, queue_id: bytes, *, earlier: bytes) -> Outcome:
        """What became of the message behind the stop."""
        message = b"From: a@example.com\r\nSubject: held\r\n\r\nThis is %b\r\n"
        if self._halts_at == "between":
            self.send(message % earlier, queue_id=earlier)
            self._halt("between")
        elif self._halts_at == "abort":
            try:
                self.send(message % earlier, queue_id=earlier)
            except _Dropped:
                self.abort()
            self._halt("abort")
        return self.send(message % queue_id, queue_id=queue_id)

    def header(self, name: bytes, value: bytes) -> Answer:
        answer = super().header(name, value)
        self._halt("header")
        return answer

    def eoh(self, macros: Macros = NO_MACROS) -> Answer:
        if self._halts_at == "abort" and not self.halted.is_set():
            raise _Dropped
        return super().eoh(macros)

    def body(self, chunk: bytes) -> Answer:
        answer = super().body(chunk)
        self._halt("body")
        return answer

    def _halt(self, stage: str) -> None:
        if stage == self._halts_at and not self.halted.is_set():
            self._flush()
            self.halted.set()
            self.may_go_on.wait(ANSWER_LIMIT_S)

    def half_a_packet(self) -> None:
        """Sends the first bytes of one, from another thread."""
        self._socket.send(b"\0\0\0\x40D")


class Held:
    """A message that was stopped at `stage`."""

    def __init__(self, site: Site, stage: str, queue_id: bytes, pool: ThreadPoolExecutor) -> None:
        self.stage = stage
        self.queue_id = queue_id.decode()
        self._site = site
        self._mta: _Haltable | None = None
        self._hold = Hold(site.held, stage, ordered=stage in ASKED)
        self._outcome = pool.submit(self._play)
        stopped = self._hold.is_on if stage in ASKED else self._has_halted
        wait_until(stopped, f"a message waits at {stage}; {site.daemons.logs()[-2000:]}")

    def _play(self) -> Outcome | None:
        own = self.queue_id.encode()
        try:
            with _Haltable(self._site.daemons.milter_address, self.stage) as self._mta:
                return self._mta.play(own, earlier=b"E" + own)
        except MilterError:
            return None

    def _has_halted(self) -> bool:
        return self._mta is not None and self._mta.halted.is_set()

    @property
    def log_name(self) -> str:
        """What the front end calls it in the log."""
        return "NOQUEUE" if self.stage in ("connect", "helo") else self.queue_id

    @property
    def has_directory(self) -> bool:
        return self.stage in ("mail", "rcpt", "header", "body", "scan")

    def let_go(self) -> None:
        self._hold.close()
        if self._mta is not None:
            self._mta.may_go_on.set()

    def is_over(self) -> bool:
        return self._outcome.done()

    def result(self) -> Outcome | None:
        """What became of it; None if its connection broke, which is a temporary failure to every MTA."""
        return self._outcome.result(ANSWER_LIMIT_S)

    def hang_up(self, *, in_a_packet: bool = False) -> None:
        """Cut the connection, as a mail server that is killed does."""
        assert self._mta
        if in_a_packet:
            self._mta.half_a_packet()
        self._mta.cut()


class Hold:
    """The order to the filter to wait at a stage, once."""

    def __init__(self, directory: Path, stage: str, *, ordered: bool = True) -> None:
        self._order = directory / stage
        self._process = directory / f"{stage}.process"
        if ordered:
            self._order.touch()

    def is_on(self) -> bool:
        return self._process.exists()

    def close(self) -> None:
        self._order.unlink(missing_ok=True)
        self._process.unlink(missing_ok=True)


class Site:
    """The chain, and a hand on what the filter waits for."""

    def __init__(self, daemons: Daemons, held: Path) -> None:
        self.daemons = daemons
        self.held = held
        self._serials = itertools.count(1)
        self._logged_before: dict[Path, int] = {}
        self._open_before: dict[int, int] = {}

    # Messages

    @contextmanager
    def holding(self, *stages: str) -> Iterator[list[Held]]:
        """A message a stage, each stopped there; they are let go at the end."""
        with ThreadPoolExecutor(max_workers=len(stages)) as pool, ExitStack() as let_go:
            messages = []
            # From the last stage on, or one message would stop at another's.
            for stage in sorted(stages, key=STAGES.index, reverse=True):
                message = Held(self, stage, self._next_queue_id(), pool)
                let_go.callback(message.let_go)
                messages.append(message)
            yield messages

    def play(self) -> Outcome | None:
        """What became of a message that is not stopped; None if the connection broke."""
        try:
            with _Haltable(self.daemons.milter_address, "") as milter:
                return milter.play(self._next_queue_id(), earlier=b"")
        except MilterError:
            return None

    def serves(self) -> bool:
        """Whether a message goes through, filtered."""
        return is_right(self.play())

    def _next_queue_id(self) -> bytes:
        # Threads may ask.
        return b"F%d" % next(self._serials)

    # Processes

    def pids(self, victim: str, stage: str) -> list[int]:
        """One of `VICTIMS`; of workers the one that waits at the stage, else all."""
        mux, milter = self.daemons.mux, self.daemons.milter
        assert mux
        assert milter
        match victim:
            case "worker" if stage in ASKED:
                return [self.waiting(stage)]
            case "worker":
                return self._workers()
            case "template":
                return self._templates()
            case "mux":
                return [mux.pid]
        return [milter.pid]

    def waiting(self, stage: str) -> int:
        """The process that waits there."""
        return int((self.held / f"{stage}.process").read_text())

    def _workers(self) -> list[int]:
        # Number, state, and of those that run the process; one that is still to come may have a request.
        slots = (line.split() for line in self.ask("workers").splitlines())
        return [int(words[2]) for words in slots if words[1] != "S" and words[2].isdecimal()]

    def _templates(self) -> list[int]:
        workers = self._workers()
        return [pid for pid in self.daemons.workers() if pid not in workers]

    def kill(self, pids: Sequence[int]) -> None:
        """SIGKILL; returns when they are dead."""
        for program in (self.daemons.mux, self.daemons.milter):
            if program is not None and [program.pid] == pids:
                program.kill()
                return
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(map(is_dead, pids)), f"{pids} dead")

    @contextmanager
    def stopped(self, pids: Sequence[int]) -> Iterator[None]:
        """While inside, these processes do nothing."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: all(map(is_stopped, pids)), f"{pids} have stopped")
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def garble(self, pids: Sequence[int], garbage: bytes) -> None:
        """Has them say so to the multiplexor, whatever it expects; with no bytes they close their mouth."""
        said = {pid: self.held / f"garbled-{pid}" for pid in pids}
        self.will_garble(pids, garbage)
        wait_until(lambda: all(one.exists() or is_dead(pid) for pid, one in said.items()), f"{pids} garble")
        for one in said.values():
            one.unlink(missing_ok=True)

    def will_garble(self, pids: Sequence[int], garbage: bytes) -> None:
        """As `garble`, for processes that have stopped: when they go on."""
        (self.held / "garbage").write_bytes(garbage)
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)

    @contextmanager
    def loading(self, begin: Callable[[], _T]) -> Iterator[tuple[int, Future[_T]]]:
        """While inside, what `begin` has started loads the filter: its process, and what will come of `begin`."""
        hold = Hold(self.held, "load")
        with ThreadPoolExecutor(max_workers=1) as pool, closing(hold):
            done = pool.submit(begin)
            wait_until(hold.is_on, f"a process loads the filter; {self.log()}")
            yield self.waiting("load"), done

    @contextmanager
    def restarted(self, *, mux_options: tuple[str, ...] = (), milter_options: tuple[str, ...] = ()) -> Iterator[None]:
        """While inside, both daemons run with these options too."""
        before = self.daemons.chain
        self._restart(
            replace(
                before,
                mux_options=(*before.mux_options, *mux_options),
                milter_options=(*before.milter_options, *milter_options),
            )
        )
        try:
            yield
        finally:
            self._restart(before)

    def _restart(self, chain: Chain) -> None:
        daemons = self.daemons
        daemons.chain = chain
        for program in (daemons.milter, daemons.mux):
            if program is not None and program.running():
                program.stop()
        self.begin()

    @property
    def _has_templates(self) -> bool:
        return "exec" not in self.daemons.chain.mux_options

    # What is left

    def begin(self) -> None:
        """Puts right what a fault has cost, and notes how things are."""
        self.daemons.repair()
        wait_until(self.serves, f"service; {self.daemons.logs()[-3000:]}", 30)
        if not self._templates() and self._has_templates:
            # One that was killed before it forked anything is replaced when a worker is wanted; the tests want it now.
            self.ask("reread")
        self._open_before = {}
        self.wait_clean()
        self._open_before = self._open_files()
        self._logged_before = {path: path.stat().st_size for path in self._logs()}

    def end(self) -> None:
        """The service is there again, and nothing is left behind the fault."""
        self.daemons.repair()
        # By itself, if not at once: starts are paced.
        wait_until(self.serves, f"service returns; {self.daemons.logs()[-3000:]}", 30)
        self.wait_clean()

    def wait_clean(self) -> None:
        wait_until(lambda: not self.left(), f"nothing is left: {self.left()}; {self.daemons.logs()[-3000:]}", 30)

    def left(self) -> str:
        """What messages and faults have left: directories, workers in work, processes or descriptors."""
        dirs, states, templates = self.daemons.work_dirs(), self.ask("status").split()[0], self._templates()
        wanted = [int((self.held / "template").read_text())] if templates else []
        opened = {pid: count for pid, count in self._open_files().items() if count > self._open_before.get(pid, count)}
        if dirs or {"B", "K"} & set(states) or templates != wanted or opened:
            return f"{dirs}, workers {states}, templates {templates}, loaded {wanted}, more descriptors: {opened}"
        return ""

    def _open_files(self) -> dict[int, int]:
        """Descriptors of both daemons, without the pipes of workers."""
        (mux,), (milter,) = self.pids("mux", ""), self.pids("milter", "")
        pipes = _PIPES_OF_A_WORKER * len(self._workers())
        return {mux: open_files(mux) - pipes, milter: open_files(milter)}

    def log(self) -> str:
        """What was logged since `begin`, the multiplexor's first."""
        return "".join(path.read_bytes()[self._logged_before[path] :].decode() for path in self._logs())

    def wait_logged(self, pattern: str) -> None:
        is_there = re.compile(pattern, re.MULTILINE).search
        wait_until(lambda: is_there(self.log()) is not None, f"{pattern!r} in the log; {self.log()[-3000:]}", 30)

    def _logs(self) -> list[Path]:
        return [self.daemons.home / name for name in ("mux.log", "milter.log")]

    def ask(self, command: str) -> str:
        """The multiplexor's answer."""
        return ask(self.daemons.mux_socket, command, ANSWER_LIMIT_S)


def is_right(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.verdict is Verdict.ACCEPT and _MARK in outcome.changes


def is_tempfail(outcome: Outcome | None) -> bool:
    return outcome is None or outcome.verdict is Verdict.TEMPFAIL


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
