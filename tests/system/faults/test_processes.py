# SPDX-License-Identifier: GPL-3.0-or-later
"""Every process killed, stopped and made to talk nonsense while a message is at any stage.

It is tempfailed or gets the right verdict, the log has the cause, the next message is served, nothing is left behind.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from defang_mux.sockets.control import REREAD
from tests.support.fault_site import (
    ANSWER_LIMIT_S,
    ASKED,
    STAGES,
    UNASKED,
    VICTIMS,
    Held,
    Site,
    is_right,
    is_tempfail,
)
from tests.support.mta import Outcome
from tests.support.process import is_dead, wait_until

pytestmark = pytest.mark.system

# What a worker or a template says. Not an answer that would be one: no verdict can be told from a wrong one.
GARBAGE = {
    "nothing, and never again": b"",
    "half a line": b"what now",
    "nonsense": b"what now\n",
    "two lines": b"what\nok 1 \n",
    "binary": bytes(range(256)),
    "NULs": bytes(4000),
    "more than anybody takes": b"ok " * 20_000,
}


# In work, or a moment before that.
_TEMPLATE_GONE = r"Template \(pid \d+\) has ended|Filter not loaded: "


def costs_the_message(victim: str, stage: str) -> bool:
    """Whether the loss of a process at that stage is a temporary failure; of others there are more, or new ones."""
    return victim in ("mux", "milter") or (victim == "worker" and stage in ASKED)


def in_the_log(victim: str, message: Held) -> str:
    """The pattern of the line that has the cause."""
    match victim:
        case "worker" if message.stage in ASKED:
            return rf"^\S+ {message.log_name}: .*ERR No response from worker"
        case "worker":
            # Told with the queue ID if a request was about to go to it before its death was noticed.
            return r"^\S+ (?:\S+: )?Reap: worker \d+ \(pid \d+\) ended by signal 9 \(WORKER DIED UNEXPECTEDLY\)"
        case "template":
            return _TEMPLATE_GONE
        case "mux":
            return rf"^\S+ {message.log_name}: \w+: .*(nothing|no answer|refused)"
    # There is nobody to log it, but one who comes after.
    return rf"mdefang-{message.queue_id}, left by a front end" if message.has_directory else ""


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_process_killed_at_any_stage_costs_at_most_a_retry(site: Site, victim: str, stage: str) -> None:
    mux = site.daemons.mux
    assert mux
    with site.holding(stage) as (message,):
        site.kill(site.pids(victim, stage))
        if not costs_the_message(victim, stage) or stage not in ASKED:
            # Else the loss alone is an answer, before it is let go.
            message.let_go()
        expected = is_tempfail if costs_the_message(victim, stage) else is_right
        assert expected(message.result())
    if victim == "mux":
        wait_until(lambda: not mux.alive(), "template and workers end with their multiplexor")
    site.daemons.repair()
    site.wait_logged(in_the_log(victim, message))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_process_that_stops_for_a_while_at_any_stage_costs_nothing(site: Site, victim: str, stage: str) -> None:
    with site.holding(stage) as (message,):
        with site.stopped(site.pids(victim, stage)):
            message.let_go()
            assert victim == "template" or stage not in ASKED or not message.is_over()
        assert is_right(message.result())


def of_garbage(victim: str, message: Held) -> str:
    """The pattern of the line that has the cause."""
    match victim:
        case "worker" if message.stage in ASKED:
            return rf"^\S+ {message.log_name}: \w+: (no answer to a check|scan): "
        case "worker":
            return rf"^\S+ {message.queue_id}: Worker \d+ did not get the request: it (wrote without|had ended)"
    return rf"Template \(pid \d+\): a template does not say|{_TEMPLATE_GONE}"


def play_garbled(site: Site, victim: str, stage: str, said: str) -> None:
    with site.holding(stage) as (message,):
        site.garble(site.pids(victim, stage), GARBAGE[said])
        message.let_go()
        outcome = message.result()
    expected = is_tempfail if costs_the_message(victim, stage) else is_right
    assert expected(outcome), (said, outcome, site.log())
    site.wait_logged(of_garbage(victim, message))


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_that_talks_nonsense_is_not_believed_and_replaced(site: Site, stage: str) -> None:
    for said in GARBAGE:
        play_garbled(site, "worker", stage, said)
        site.begin()


@pytest.mark.parametrize(("stage", "said"), [*zip(STAGES, itertools.cycle(GARBAGE), strict=False)])
def test_a_template_that_talks_nonsense_is_replaced(site: Site, stage: str, said: str) -> None:
    play_garbled(site, "template", stage, said)


# While something starts


@contextmanager
def ordered(site: Site) -> Iterator[Future[Outcome | None]]:
    """A message that needs a worker, and the template has not heard of it yet; its outcome."""
    # A template that ends without having made any worker is not tried again at once.
    for _ in range(2):
        site.begin()
        site.kill(site.pids("worker", "between"))
        wait_until(lambda: not site.pids("worker", "between"), "no worker is left")
    with ThreadPoolExecutor(max_workers=1) as pool, site.stopped(site.pids("template", "")):
        outcome = pool.submit(site.play)
        wait_until(lambda: "B" in site.ask("status").split()[0], "the message has a worker that is to come")
        yield outcome


@pytest.mark.parametrize("fault", ["killed", "talks nonsense"])
def test_a_worker_that_a_template_did_not_make_is_made_by_the_next(site: Site, fault: str) -> None:
    (template,) = site.pids("template", "")
    with ordered(site) as outcome:
        if fault == "killed":
            site.kill([template])
        else:
            site.will_garble([template], GARBAGE["nonsense"])
    assert is_right(outcome.result(ANSWER_LIMIT_S))
    site.wait_logged(rf"Template \(pid {template}\)")


@pytest.mark.parametrize("fault", ["killed", "stops for a while", "talks nonsense"])
def test_a_new_template_that_is_lost_while_it_loads_leaves_the_old_one(site: Site, fault: str) -> None:
    with site.loading(partial(site.ask, "reread")) as (template, reply):
        assert is_right(site.play())
        match fault:
            case "killed":
                site.kill([template])
            case "stops for a while":
                with site.stopped([template]):
                    assert is_right(site.play())
            case _:
                site.garble([template], GARBAGE["nonsense"])
    answer = reply.result(ANSWER_LIMIT_S)
    if fault == "stops for a while":
        assert answer == REREAD.decode()
    else:
        assert answer.startswith("error: ")
        site.wait_logged("Filter not reread, nothing has changed: ")
    assert is_right(site.play())


def test_a_worker_that_is_lost_while_it_starts_as_a_program_costs_a_retry(site: Site) -> None:
    with site.restarted(mux_options=("--start", "exec")):
        for fault in ("killed", "stops for a while", "talks nonsense"):
            site.begin()
            site.kill(site.pids("worker", "between"))
            with site.loading(site.play) as (worker, outcome):
                match fault:
                    case "killed":
                        site.kill([worker])
                    case "stops for a while":
                        with site.stopped([worker]):
                            pass
                    case _:
                        site.garble([worker], GARBAGE["nonsense"])
            expected = is_right if fault == "stops for a while" else is_tempfail
            assert expected(outcome.result(ANSWER_LIMIT_S)), fault
        site.end()


# For good


def test_what_stops_for_good_is_replaced_after_its_time(site: Site) -> None:
    with site.holding(*ASKED) as messages, ThreadPoolExecutor(max_workers=2) as pool:
        # One more that is idle.
        assert is_right(site.play())
        workers = site.pids("worker", "between")
        assert len(workers) == len(ASKED) + 1
        # No worker is idle then: the next message needs the template, which has stopped as well.
        (template,) = site.pids("template", "")
        with site.stopped([*workers, template]):
            lost = pool.submit(site.play)
            wait_until(lambda: "I" not in site.ask("status"), "the idle worker has a request")
            waits = pool.submit(site.play)
            assert all(is_tempfail(message.result()) for message in messages)
            assert is_tempfail(lost.result(ANSWER_LIMIT_S))
            # It is a matter of milliseconds whether the new template or the busy timeout comes first.
            last = waits.result(ANSWER_LIMIT_S)
            assert is_right(last) or is_tempfail(last)
            wait_until(lambda: all(map(is_dead, workers)), "the stopped workers are ended", 30)
    for message in messages:
        site.wait_logged(rf"^\S+ {message.log_name}: \w+: .*ERR Filter timed out")
    site.wait_logged(rf"Template \(pid {template}\): it takes too long")


def test_a_multiplexor_that_stops_for_good_costs_a_retry_after_the_front_ends_time(site: Site) -> None:
    with site.restarted(milter_options=("--mux-timeout", "1")):
        (mux,) = site.pids("mux", "")
        with site.holding(*UNASKED) as messages, site.stopped([mux]):
            for message in messages:
                message.let_go()
            assert all(is_tempfail(message.result()) for message in messages)
        for message in messages:
            site.wait_logged(rf"^\S+ {message.log_name}: \w+: .*no answer within 1 s")
        site.end()
