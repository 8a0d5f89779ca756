# SPDX-License-Identifier: GPL-3.0-or-later
"""Every process killed or stopped at every stage, and what they need taken away: disk, descriptors, connections.

Whatever happens, a message is tempfailed or gets the right verdict, the next one is served, and nothing is left behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from defang_worker.trial.mta_message import AddHeader
from tests.support.daemons import MX_CTRL, USER, Chain, Daemons, Origin, make_spool, private_home, running
from tests.support.mta import Milter, MilterError, Outcome, Verdict
from tests.support.process import is_dead, wait_until
from tests.support.small_disk import full, small_file_system

pytestmark = pytest.mark.system

STAGES = ("connect", "helo", "mail", "rcpt", "scan")
VICTIMS = ("worker", "template", "mux", "milter")
FILTER = Path(__file__).parents[1] / "support/filters/held.py"
MAIL = b"From: a@example.com\r\nSubject: held\r\n\r\nHello\r\n"
MARK = AddHeader(name=b"X-Filtered", value=b"yes")
# The least that the multiplexor takes.
BUSY_TIMEOUT_S = 10
ANSWER_LIMIT_S = 60
CHAIN = Chain(
    filter=FILTER,
    mux_options=("-m", "1", "-x", "6", "-b", str(BUSY_TIMEOUT_S), "-l"),
    milter_options=("-r", "-H", "-s", "-t"),
)


class Site:
    """The chain, and a hand on what the filter waits for."""

    def __init__(self, daemons: Daemons, held: Path) -> None:
        self.daemons = daemons
        self.held = held
        self._serial = 0
        self._playing: Milter | None = None

    def play(self) -> Outcome | None:
        """What became of a message; None if the milter's connection broke, a temporary failure to every MTA."""
        self._serial += 1
        try:
            with Milter(self.daemons.milter_address, timeout_s=ANSWER_LIMIT_S) as self._playing:
                return self._playing.send(MAIL, queue_id=b"F%d" % self._serial)
        except MilterError:
            return None

    def pid(self, victim: str, stage: str) -> int:
        """The process ID of one of `VICTIMS`."""
        daemons = self.daemons
        assert daemons.mux
        assert daemons.milter
        match victim:
            case "worker":
                return int((self.held / f"{stage}.worker").read_text())
            case "template":
                return int((self.held / "template").read_text())
            case "mux":
                return daemons.mux.pid
        return daemons.milter.pid

    @contextmanager
    def waiting_at(self, *stages: str) -> Iterator[list[Future[Outcome | None]]]:
        """A message a stage, each waiting in its callback; they are let go at the end. Their outcomes."""
        with ThreadPoolExecutor(max_workers=len(stages)) as pool, ExitStack() as let_go:
            outcomes = []
            # From the last stage on, or one message would stop at another's.
            for stage in reversed(stages):
                told = self.held / f"{stage}.worker"
                told.unlink(missing_ok=True)
                (self.held / stage).touch()
                let_go.callback((self.held / stage).unlink, missing_ok=True)
                outcomes.append(pool.submit(self.play))
                wait_until(told.exists, f"a message waits at {stage}; {self.daemons.logs()[-2000:]}")
            yield outcomes[::-1]

    def hang_up(self) -> None:
        """Cut the connection of the message that was begun last, as a mail server that is killed does."""
        assert self._playing
        self._playing.cut()

    def serves(self) -> bool:
        """Whether a message goes through, filtered."""
        return is_right(self.play())

    def is_clean(self) -> bool:
        """Whether no message has left anything: no directory, no busy or ending worker, no spare descriptor."""
        states = self.ask("rawstatus").split()[0]
        return not self.daemons.work_dirs() and not {"B", "K"} & set(states)

    def wait_clean(self) -> None:
        wait_until(self.is_clean, f"nothing is left: {self.daemons.work_dirs()}, {self.ask('rawstatus')}", 30)

    def ask(self, command: str) -> str:
        """The multiplexor's answer."""
        argv = [str(MX_CTRL[Origin.OURS]), "-s", str(self.daemons.mux_socket), command]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=ANSWER_LIMIT_S).stdout


def is_right(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.verdict is Verdict.ACCEPT and MARK in outcome.changes


def is_tempfail(outcome: Outcome | None) -> bool:
    return outcome is None or outcome.verdict is Verdict.TEMPFAIL


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def chain() -> Iterator[Site]:
    with private_home("faults-") as home, small_file_system(home / "spool") as spool:
        held = home / "held"
        make_spool(held)
        with running(CHAIN, home=home, spool=spool) as daemons:
            yield Site(daemons, held)


@pytest.fixture
def site(chain: Site) -> Iterator[Site]:
    """The chain, serving; and what a fault has cost is put right and nothing left behind it."""
    chain.daemons.repair()
    # A template that was killed is replaced when a worker is wanted; the tests want one before.
    chain.ask("reread")
    assert chain.serves(), chain.daemons.logs()[-3000:]
    yield chain
    chain.daemons.repair()
    # By itself, if not at once: starts are paced.
    wait_until(chain.serves, f"service returns; {chain.daemons.logs()[-3000:]}", 30)
    chain.wait_clean()


# Killed, stopped


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_process_killed_at_any_stage_costs_at_most_a_retry(site: Site, victim: str, stage: str) -> None:
    mux = site.daemons.mux
    assert mux
    with site.waiting_at(stage) as (outcome,):
        pid = site.pid(victim, stage)
        if victim == "mux":
            mux.kill()
        elif victim == "milter":
            assert site.daemons.milter
            site.daemons.milter.kill()
        else:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: is_dead(pid), f"the {victim} is dead")
        if victim != "template":
            # Before it is let go: the loss alone is an answer.
            assert is_tempfail(outcome.result(ANSWER_LIMIT_S))
    if victim == "template":
        assert is_right(outcome.result(ANSWER_LIMIT_S))
    elif victim == "mux":
        wait_until(lambda: not mux.alive(), "template and workers end with their multiplexor")


@pytest.mark.parametrize("stage", STAGES)
def test_processes_that_stop_for_a_while_cost_nothing(site: Site, stage: str) -> None:
    with site.waiting_at(stage) as (outcome,):
        pids = [site.pid(victim, stage) for victim in VICTIMS]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: all(map(is_stopped, pids)), "all have stopped")
            (site.held / stage).unlink()
            assert not outcome.done()
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert is_right(outcome.result(ANSWER_LIMIT_S))


def test_workers_that_stop_for_good_are_replaced_after_the_busy_timeout(site: Site) -> None:
    with site.waiting_at(*STAGES) as outcomes:
        pids = [site.pid("worker", stage) for stage in STAGES]
        assert len(set(pids)) == len(STAGES)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        assert all(is_tempfail(outcome.result(ANSWER_LIMIT_S)) for outcome in outcomes)
        wait_until(lambda: all(map(is_dead, pids)), "the stopped workers are ended", 30)


# What they need


@contextmanager
def descriptors_limited(pid: int, count: int) -> Iterator[None]:
    """While inside, the process can have no more open. By its own user, for root need not have that right."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    before = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3]

    def limit(soft: str) -> None:
        subprocess.run(["prlimit", "--pid", str(pid), f"--nofile={soft}:"], user=USER, group=USER, check=True)

    limit(str(count))
    try:
        yield
    finally:
        limit(before)


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills_up_at_any_stage_costs_a_retry(site: Site, stage: str) -> None:
    with site.waiting_at(stage) as (outcome,), full(site.daemons.spool):
        (site.held / stage).unlink()
        assert is_tempfail(outcome.result(ANSWER_LIMIT_S))
    wait_until(lambda: "No space left on device" in site.daemons.logs(), "the log has the reason")


@pytest.mark.parametrize("spare", [0, 1, 3, 6])
@pytest.mark.parametrize("victim", ["mux", "milter"])
def test_a_daemon_without_descriptors_refuses_for_now_and_serves_when_there_are_some(
    site: Site, victim: str, spare: int
) -> None:
    pid = site.pid(victim, "")
    idle = open_files(pid)
    # The first worker is busy, so that a new one is needed and its pipes with it.
    with site.waiting_at("scan") as (held,), ThreadPoolExecutor(max_workers=1) as pool:
        with descriptors_limited(pid, open_files(pid) + spare):
            outcome = pool.submit(site.play)
            wait([outcome], timeout=1)
        (site.held / "scan").unlink()
        assert is_right(held.result(ANSWER_LIMIT_S))
        answer = outcome.result(ANSWER_LIMIT_S)
        assert is_right(answer) or is_tempfail(answer)
    assert site.serves()
    if victim == "milter":
        wait_until(lambda: open_files(pid) <= idle, f"descriptors left open: {open_files(pid)}, {idle} before")


# Connections


@pytest.mark.parametrize("stage", STAGES)
def test_a_mail_server_that_goes_away_at_any_stage_leaves_nothing(site: Site, stage: str) -> None:
    assert site.daemons.milter
    before = open_files(site.daemons.milter.pid)
    with site.waiting_at(stage):
        site.hang_up()
    site.wait_clean()
    milter = site.daemons.milter
    wait_until(lambda: open_files(milter.pid) <= before, f"{open_files(milter.pid)} open, {before} before")


class Wire:
    """Stands between milter and multiplexor, and spoils the answers to requests of one word."""

    def __init__(self, path: Path, behind: Path) -> None:
        self._behind = behind
        self.word = b""
        self.spoil: Callable[[bytes], bytes] = bytes
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        shutil.chown(path, USER)
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(connection,), daemon=True).start()

    def _carry(self, connection: socket.socket) -> None:
        with connection, socket.socket(socket.AF_UNIX) as onward, suppress(OSError):
            line = connection.recv(65536)
            onward.connect(str(self._behind))
            onward.sendall(line)
            reply = b"".join(iter(lambda: onward.recv(65536), b""))
            connection.sendall(self.spoil(reply) if line.split()[0] == self.word else reply)


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda _reply: b"",
    "cut in the middle": lambda reply: reply[: len(reply) // 2],
    "binary": lambda _reply: bytes(range(256)),
    "endless": lambda _reply: b"ok 1" + b" 1" * 40_000,
    "nothing but a newline": lambda _reply: b"\n",
}


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    daemons = site.daemons
    assert daemons.milter
    behind = daemons.mux_socket
    between = Wire(daemons.spool / "between.sock", behind)
    daemons.milter.stop()
    daemons.mux_socket = daemons.spool / "between.sock"
    daemons.start_milter()
    yield between
    daemons.milter.stop()
    between.close()
    daemons.mux_socket.unlink()
    daemons.mux_socket = behind


@pytest.mark.parametrize("word", [b"relayok", b"helook", b"senderok", b"recipok", b"scan"])
def test_an_answer_that_is_spoiled_on_its_way_is_a_temporary_failure(site: Site, wire: Wire, word: bytes) -> None:
    for name, spoil in SPOILED.items():
        wire.word, wire.spoil = word, spoil
        outcome = site.play()
        assert outcome is not None, name
        assert is_tempfail(outcome), (name, outcome)
        wire.word = b""
        assert site.serves(), name
