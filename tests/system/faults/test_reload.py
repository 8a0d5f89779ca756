# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter reread again and again under load, also one that is broken: no message is refused or passes by it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from defang_mux.sockets.control import REREAD
from defang_worker.trial.mta_message import AddHeader
from tests.support.daemons import Chain, Daemons, private_home, running
from tests.support.mta import Milter, Outcome, Verdict
from tests.support.mux import ask
from tests.support.process import wait_until

pytestmark = pytest.mark.system

SESSIONS = 4
MESSAGES_BETWEEN = 5
GOOD = """
from defang_worker import Filter, Response

class Site(Filter):
    def filter_sender(self, envelope):
        return Response.ok()

    def filter_begin(self, message):
        message.headers.add("X-Version", "{version}")
"""
BROKEN = {
    "syntax": "def filter_begin(message:\n",
    "error": "raise ValueError('no good')\n",
    "end": "import os\nos._exit(3)\n",
}
# Every good one is a version of its own.
ORDER = ("good", "syntax", "good", "error", "end", "good")
MAIL = b"From: a@example.com\r\nSubject: reload\r\n\r\nHello\r\n"


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    with private_home("reload-") as home:
        source = home / "site.py"
        source.write_text(GOOD.format(version=0))
        # Fewer workers than sessions: requests wait in the queue as well, and workers are recycled all the time.
        mux_options = ("-m", "2", "-x", "3", "-w", "1", "-r", "20", "-q", "16", "-Q", "60", "-l")
        chain = Chain(filter=source, mux_options=mux_options, milter_options=("-q", "-s"))
        with running(chain, home=home) as found:
            yield found


class Load:
    """Sessions that send one message after the other until told to end.

    `least` is the version by which a message that begins now has to be filtered, or by a later one.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._may_end = threading.Event()
        self.least = 0
        self.versions: list[int] = []
        self.failures: list[tuple[int, Outcome]] = []

    def run(self, session: int) -> None:
        with Milter(self._address) as milter:
            while not self._may_end.is_set():
                least = self.least
                self._take(least, milter.send(MAIL, queue_id=b"R%d" % session))

    def _take(self, least: int, outcome: Outcome) -> None:
        headers = [change for change in outcome.changes if isinstance(change, AddHeader)]
        versions = [int(header.value) for header in headers if header.name == b"X-Version"]
        if outcome.verdict is Verdict.ACCEPT and len(versions) == 1 and versions[0] >= least:
            self.versions += versions
        else:
            self.failures.append((least, outcome))

    def wait_more(self) -> None:
        """Until each session has had its turn some times."""
        wanted = len(self.versions) + MESSAGES_BETWEEN * SESSIONS
        wait_until(lambda: len(self.versions) >= wanted or bool(self.failures), "more messages")

    def end(self) -> None:
        self._may_end.set()


def reread(daemons: Daemons, text: str) -> str:
    (daemons.home / "filter.py").write_text(text)
    return ask(daemons.mux_socket, "reread")


def test_no_message_is_refused_while_good_and_broken_filters_are_reread(daemons: Daemons) -> None:
    load = Load(daemons.milter_address)
    with ThreadPoolExecutor(max_workers=SESSIONS) as pool:
        sessions = [pool.submit(load.run, number) for number in range(SESSIONS)]
        try:
            for kind in ORDER:
                load.wait_more()
                if kind == "good":
                    assert reread(daemons, GOOD.format(version=load.least + 1)) == REREAD.decode()
                    load.least += 1
                else:
                    answer = reread(daemons, BROKEN[kind])
                    assert answer.startswith("error: ")
                    assert "filter.py" in answer or kind == "end", answer
            load.wait_more()
        finally:
            load.end()
        for session in sessions:
            session.result()
    assert load.failures == []
    assert set(load.versions) == set(range(load.least + 1))
    assert daemons.logs().count("Filter not reread, nothing has changed: ") == len(BROKEN)
