# SPDX-License-Identifier: GPL-3.0-or-later
"""Many SMTP sessions at once: every message is answered, none is lost, and nothing is left behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from defang_worker.trial.mta_message import AddHeader, Message, as_crlf
from tests.support.daemons import Chain, Daemons, private_home, running
from tests.support.mta import Milter, MilterError, Verdict
from tests.support.process import wait_until

pytestmark = pytest.mark.system

SESSIONS = 200
MESSAGES_PER_SESSION = 5
WORKERS = 2
# This queue holds 128, so a few of 200 are told to come back later, and do, as an MTA would.
RETRIES = 50
CHAIN = Chain(
    filter=Path(__file__).parent / "interop" / "filter.py",
    milter_options=("-r", "-H", "-s", "-t", "-q"),
    mux_options=("-m", str(WORKERS), "-x", str(WORKERS), "-w", "1", "-q", "128", "-Q", "60", "-l"),
)
RETRY_PAUSE_S = 0.2
ANSWER_LIMIT_S = 60


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    with private_home("crowd-") as home, running(CHAIN, home=home) as found:
        yield found


def order(number: int) -> Message:
    """A message that asks the filter to add its own number."""
    return Message.parse(as_crlf(b"Subject: crowd\nX-Test: end add X-Number %d\n\nmessage %d\n" % (number, number)))


class Crowd:
    """The sessions: all are connected before any of them sends its messages, one after the other."""

    def __init__(self, daemons: Daemons) -> None:
        self.address = daemons.milter_address
        self.accepted: list[int] = []
        self.failures: list[str] = []
        self._all_connected = threading.Barrier(SESSIONS)

    def run(self) -> None:
        sessions = [threading.Thread(target=self._session, args=(number,)) for number in range(SESSIONS)]
        for session in sessions:
            session.start()
        for session in sessions:
            session.join()

    def _session(self, session: int) -> None:
        waiting = list(range(session * MESSAGES_PER_SESSION, (session + 1) * MESSAGES_PER_SESSION))
        try:
            with Milter(self.address, timeout_s=ANSWER_LIMIT_S) as milter:
                self._all_connected.wait(ANSWER_LIMIT_S)
                self._deliver(milter, waiting)
            for _ in range(RETRIES):
                if not waiting:
                    return
                time.sleep(RETRY_PAUSE_S)
                with Milter(self.address, timeout_s=ANSWER_LIMIT_S) as milter:
                    self._deliver(milter, waiting)
        except (MilterError, threading.BrokenBarrierError) as error:
            self.failures.append(f"session {session}: {error!r}")
        self.failures += [f"message {number} was not accepted" for number in waiting]

    def _deliver(self, milter: Milter, waiting: list[int]) -> None:
        """Send those that wait, up to the first temporary failure: an MTA ends the session then and keeps the rest."""
        while waiting:
            number = waiting[0]
            outcome = milter.send(order(number), queue_id=b"C%d" % number)
            if outcome.verdict is Verdict.TEMPFAIL:
                return
            waiting.pop(0)
            if AddHeader(name=b"X-Number", value=b"%d" % number) not in outcome.changes:
                self.failures.append(f"message {number}: {outcome.verdict}, {outcome.changes}")
            self.accepted.append(number)


def workers_at_rest(daemons: Daemons) -> int:
    """How many workers the multiplexor has idle."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_LIMIT_S)
        connection.connect(str(daemons.mux_socket))
        connection.sendall(b"status\n")
        states = b"".join(iter(lambda: connection.recv(4096), b"")).split()[0]
    return states.count(b"I")


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_two_hundred_sessions_at_once_lose_and_leave_nothing(daemons: Daemons) -> None:
    assert daemons.milter is not None
    assert daemons.mux is not None
    with Milter(daemons.milter_address) as milter:
        assert milter.send(order(0)).verdict is Verdict.ACCEPT
    pids = (daemons.milter.pid, daemons.mux.pid)
    # A worker has its pipes in the multiplexor before it has a process, and the template has one of its own.
    wait_until(lambda: workers_at_rest(daemons) == WORKERS, "both workers are idle")
    before = {pid: open_files(pid) for pid in pids}
    spool_before = sorted(daemons.spool.iterdir())

    crowd = Crowd(daemons)
    crowd.run()

    assert crowd.failures == [], daemons.logs()[-3000:]
    assert sorted(crowd.accepted) == list(range(SESSIONS * MESSAGES_PER_SESSION))
    wait_until(lambda: workers_at_rest(daemons) == WORKERS, "both workers are idle again")
    for pid in pids:
        wait_until(lambda pid=pid: open_files(pid) <= before[pid], f"no descriptor left: {open_files(pid)}, {before}")  # type: ignore[misc]
    assert sorted(daemons.spool.iterdir()) == spool_before
