# SPDX-License-Identifier: GPL-3.0-or-later
"""A log that takes nothing: mail passes with the right verdicts, and the programs end when they are told to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.daemons import OUR_PROGRAMS, USER, make_spool, private_home
from tests.support.mta import Milter, Verdict
from tests.support.process import STOP_LIMIT_S, accepts_connections, wait_until

pytestmark = pytest.mark.system

# A message's lines are more than a pipe takes.
FILTER = """
import logging

def filter_begin(message):
    for number in range(200):
        logging.getLogger("site").warning("%d %s", number, "x" * 1000)
    if message.subject == "bad":
        message.reject("no")

def filter_end(message):
    message.headers.add("X-Filtered", "yes")
"""


@contextmanager
def daemon(program: str, address: str, *options: str | Path) -> Iterator[None]:
    """One that logs to a pipe that nobody reads; it has to end by itself."""
    nobody_reads, log = os.pipe()
    argv = [OUR_PROGRAMS / program, "-D", "-U", USER, "--log-to", "stderr", *options]
    try:
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/") as process:
            try:
                wait_until(
                    lambda: process.poll() is not None or accepts_connections(address), f"{program} at {address}"
                )
                yield
                process.terminate()
                assert process.wait(STOP_LIMIT_S) == 0
            finally:
                process.kill()
    finally:
        os.close(nobody_reads)
        os.close(log)


def test_a_log_that_takes_nothing_stops_no_mail() -> None:
    with private_home("log-") as home, ExitStack() as stack:
        spool = home / "spool"
        make_spool(spool)
        (home / "filter.py").write_text(FILTER)
        mux, milter = f"{spool}/mux.sock", f"unix:{spool}/milter.sock"
        stack.enter_context(
            daemon("defang-mux", mux, "-z", spool, "-s", mux, "-F", home / "filter.py", "-x", "2", "-l")
        )
        stack.enter_context(
            daemon("defang-milter", milter, "-z", spool, "-m", mux, "-p", milter, "--log-filter-time", "-s")
        )
        with Milter(milter) as mta:
            for number in range(20):
                is_bad = number % 2 == 1
                subject = b"bad" if is_bad else b"good"
                outcome = mta.send(b"Subject: %b\r\n\r\nx\r\n" % subject, queue_id=b"Q%07d" % number)
                assert outcome.verdict is (Verdict.REJECT if is_bad else Verdict.ACCEPT)
                if outcome.message is not None:
                    assert outcome.message.values(b"X-Filtered") == [b"yes"]
        stack.close()
        assert not list(spool.glob("mdefang-*"))
