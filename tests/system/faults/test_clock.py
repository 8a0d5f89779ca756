# SPDX-License-Identifier: GPL-3.0-or-later
"""The time of day jumps by hours while messages are at every stage: nobody takes that for time that has passed.

libfaketime sets it for the daemons and all that they start. The clock that only goes on stays as it is.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from defang_worker.trial.mta_message import AddHeader
from tests.support.daemons import make_spool, private_home, running
from tests.support.fault_site import ANSWER_LIMIT_S, ASKED, CHAIN, STAGES, VICTIMS, Site, is_right
from tests.support.mta import Milter, Outcome
from tests.support.process import wait_until

pytestmark = pytest.mark.system

HOUR_S = 3600
# More than every limit of the chain, the longest of which is libmilter's for a silent mail server, two hours.
JUMPS_H = (6, -12, 30, 0)
# The dynamic linker finds the directory of this machine's libraries for `$LIB`.
LIBRARY = "/usr/$LIB/faketime/libfaketimeMT.so.1"
SHARED_MEMORY = Path("/dev/shm")
SESSIONS = 4
MESSAGES_PER_SESSION = 12


class Clock:
    """The time of day that the daemons see; `hours` off the right one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            # Times of files are the system's: as they are when it is its clock that jumps.
            "NO_FAKE_STAT": "1",
        }
        self.hours = 0
        self.set(0)

    def set(self, hours: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{hours:+d}h\n")
        new.rename(self._file)
        self.hours = hours

    def is_seen(self, epoch_s: float) -> bool:
        """Whether somebody who tells that time has this clock; a slow test may take a while."""
        return abs(epoch_s - time.time() - self.hours * HOUR_S) < HOUR_S


@pytest.fixture(scope="module")
def clock_and_site() -> Iterator[tuple[Clock, Site]]:
    with private_home("clock-") as home:
        held = home / "held"
        make_spool(held)
        clock = Clock(home / "clock")
        chain = replace(
            CHAIN,
            mux_options=(*CHAIN.mux_options, "-x", str(len(ASKED)), "-q", "9", "-Q", "600", "-i", "900", "-V", "900"),
            milter_options=(*CHAIN.milter_options, "-q"),
        )
        with running(chain, home=home, environment=clock.environment) as daemons:
            site = Site(daemons, held)
            pids = [site.pids(daemon, "")[0] for daemon in ("mux", "milter")]
            try:
                yield clock, site
            finally:
                # Which libfaketime leaves, if the program that made it becomes another user.
                for left in (left for pid in pids for left in SHARED_MEMORY.glob(f"*faketime_*_{pid}")):
                    left.unlink()


@pytest.fixture
def clock(clock_and_site: tuple[Clock, Site]) -> Clock:
    return clock_and_site[0]


@pytest.fixture
def site(clock_and_site: tuple[Clock, Site]) -> Iterator[Site]:
    clock, site = clock_and_site
    clock.set(0)
    site.begin()
    yield site
    site.end()


def told_at(site: Site) -> float:
    """When the slowest of the latest requests came, as the multiplexor tells it."""
    return float(json.loads(site.ask("slow 1"))["time"])


def assert_counts(site: Site) -> None:
    """All messages are counted as of the last minutes, and of the last hours."""
    messages = site.ask("msgs").strip()
    assert site.ask("load").split()[3] == messages
    assert site.ask("hload").split()[3] == messages


def test_a_jump_while_messages_are_at_every_stage_costs_none_and_no_worker(clock: Clock, site: Site) -> None:
    with site.holding(*STAGES) as messages, ThreadPoolExecutor(max_workers=1) as pool:
        workers = site.pids("worker", "")
        assert len(workers) == len(ASKED)
        waits = pool.submit(site.play)
        wait_until(lambda: site.ask("status").split()[4] == "1", "a message waits for a worker")
        for hours in JUMPS_H:
            clock.set(hours)
            assert clock.is_seen(told_at(site))
            assert not any(message.is_over() for message in messages)
        for message in messages:
            message.let_go()
        assert [message.stage for message in messages if not is_right(message.result())] == []
        assert is_right(waits.result(ANSWER_LIMIT_S))
    assert site.pids("worker", "between") == workers
    assert_counts(site)


def test_jumps_between_messages_cost_none_and_no_worker(clock: Clock, site: Site) -> None:
    everybody = [pid for victim in VICTIMS for pid in site.pids(victim, "between")]
    assert all("libfaketime" in Path(f"/proc/{pid}/maps").read_text() for pid in everybody)
    for hours in JUMPS_H:
        clock.set(hours)
        outcome = site.play()
        assert outcome
        assert is_right(outcome)
        told = {change.name: change.value for change in outcome.changes if isinstance(change, AddHeader)}
        assert clock.is_seen(float(told[b"X-Filtered-At"]))
    assert everybody == [pid for victim in VICTIMS for pid in site.pids(victim, "between")]
    assert_counts(site)


def test_messages_without_a_queue_id_keep_their_directories_apart_when_the_clock_goes_back(
    clock: Clock, site: Site
) -> None:
    with ThreadPoolExecutor(max_workers=SESSIONS) as pool:
        outcomes = [pool.submit(play_unnamed, site) for _ in range(SESSIONS)]
        for hours in itertools.cycle(JUMPS_H):
            # Back to the same seconds again and again.
            clock.set(hours)
            if all(outcome.done() for outcome in outcomes):
                break
    assert all(is_right(outcome) for session in outcomes for outcome in session.result())


def play_unnamed(site: Site) -> list[Outcome]:
    with Milter(site.daemons.milter_address) as milter:
        return [milter.send(b"Subject: a\r\n\r\nb\r\n", queue_id=b"") for _ in range(MESSAGES_PER_SESSION)]
