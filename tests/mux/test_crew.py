# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients, pool and workers together, with workers in memory and a clock that jumps.

Each test asks for the clock itself: pytest-trio does not look for it in the arguments of fixtures.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest
import trio
import trio.testing

from defang_common.wire import abilities
from defang_common.wire.abilities import HEADER_FILES_WANTED, QUESTION_TO_WORKER, Ability
from defang_common.wire.answers import MAX_RESULTS_ON_ANSWER_BYTES, encode_results
from defang_mux.pool import ledger
from defang_mux.pool.events import Event, RereadForced, Tagged, TimeoutHit, Watch
from defang_mux.pool.ledger import Ledger
from defang_mux.pool.policy import NO_ACTIVATION, NO_FREE_WORKERS, QUEUE_TIMED_OUT, STOPPING, Pool
from defang_mux.pool.state import Moved, State
from defang_mux.process.crew import OVERLOADED, TIMED_OUT, Crew, Orders
from defang_mux.process.exchange import NO_RESPONSE
from defang_mux.process.exchange import STOPPING as GIVEN_UP
from defang_mux.process.kill import Patience
from defang_mux.process.poison_guard import Outcome, PoisonOrders
from defang_mux.process.spawn import Program
from defang_mux.process.starter import Starting
from tests.mux.conftest import FakeKernel
from tests.mux.crews import LOG, SCAN, Client, Make, answer, die, limits, pool_of, settle


@pytest.fixture
async def make(kernel: FakeKernel, nursery: trio.Nursery) -> AsyncIterator[Make]:
    def make_crew(
        *,
        verbose: bool = False,
        status_tags: bool = False,
        poison: Outcome = Outcome.NONE,
        store: Path = Path("/no/such/spool"),
        watches: Sequence[Watch] = (),
        **changed: Any,
    ) -> Crew:
        pool = Pool(limits(**changed), now=trio.current_time(), epoch_offset_s=0, watched=bool(watches))
        crew = Crew(
            pool,
            Orders(
                program=Program(path=Path("/worker"), rules=None, status_tags=status_tags),
                starting=Starting.EXEC,
                busy_timeout_s=120,
                patience=Patience(stop_grace_s=10, kill_grace_s=10),
                verbose=verbose,
                poison=PoisonOrders(outcome=poison, store=store),
            ),
            nursery,
            LOG,
            ledger=Ledger(),
            watches=watches,
        )
        nursery.start_soon(crew.keep_time)
        return crew

    yield make_crew
    # With the children gone, nothing waits for a signal of theirs.
    nursery.cancel_scope.cancel()


async def test_answer_comes_back_unchanged(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    client = Client(crew, nursery)
    await settle()
    (process,) = kernel.processes
    assert await answer(process) == SCAN
    assert client.reply == b"ok\n"
    assert pool_of(crew).in_state(State.IDLE) == 1


async def test_timeout_in_the_moment_of_the_answer_does_not_end_the_next_request(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    answered = 0
    # Who comes first, the timer or the client, is left to chance by trio.
    for _ in range(20):
        crew = make(max_workers=1)
        first = Client(crew, nursery)
        await settle()
        process = kernel.processes[-1]
        await process.read_line()
        process.say(b"ok\n")
        autojump_clock.jump(121)
        await settle()
        if first.reply != b"ok\n":
            continue
        answered += 1
        second = Client(crew, nursery)
        await settle()
        assert second.reply is None
        assert await answer(process) == SCAN
        assert second.reply == b"ok\n"
    assert answered


async def test_fault_of_ours_is_named_with_the_queue_id(
    make: Make,
    kernel: FakeKernel,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crew = make()

    async def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trio.lowlevel, "wait_readable", full)
    with pytest.raises(OSError, match="No space"):
        await crew.answer(SCAN)
    monkeypatch.undo()
    assert "Q1: Worker 0 failed: Request given up: OSError(28, 'No space left on device')" in caplog.messages


async def test_worker_that_dies_in_the_moment_of_its_answer_is_told(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    crew = make()
    client = Client(crew, nursery)
    await settle()
    (process,) = kernel.processes
    await process.read_line()
    process.say(b"ok\n")
    process.exit_status = 11
    process.close()
    crew.reap()
    await settle()
    assert client.reply == b"ok\n"
    assert crew._ledger.deaths == 1
    (told,) = [text for text in caplog.messages if "DIED UNEXPECTEDLY" in text]
    assert "ended by signal 11" in told


async def test_client_that_gives_up_in_the_queue_leaves_nothing_there(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=1)
    first = Client(crew, nursery)
    await settle()
    async with trio.open_nursery() as impatient:
        given_up = Client(crew, impatient)
        await settle()
        assert pool_of(crew).queued == 1
        impatient.cancel_scope.cancel()
    assert pool_of(crew).queued == 0
    (process,) = kernel.processes
    await answer(process)
    assert (first.reply, given_up.reply) == (b"ok\n", None)
    assert pool_of(crew).in_state(State.IDLE) == 1


async def test_queued_requests_are_served_in_order_and_time_out(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=1, queue_size=3)
    lines = [b"scan Q%d /d" % number for number in range(5)]
    clients = []
    for line in lines:
        clients.append(Client(crew, nursery, line))
        await settle()
    (process,) = kernel.processes
    assert clients[4].reply == NO_FREE_WORKERS
    assert await answer(process) == lines[0]
    assert await answer(process) == lines[1]
    await trio.sleep(31)
    assert clients[3].reply == QUEUE_TIMED_OUT
    assert clients[2].reply is None
    assert await answer(process) == lines[2]
    assert [client.reply for client in clients[:3]] == [b"ok\n"] * 3


async def test_death_of_a_worker_is_told_at_once_and_serves_the_queue_with_a_new_one(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=1)
    client = Client(crew, nursery)
    await settle()
    waiting = Client(crew, nursery, b"scan Q2 /d")
    await settle()
    die(crew, kernel.processes[0])
    await settle()
    assert client.reply == NO_RESPONSE
    assert await answer(kernel.processes[1]) == b"scan Q2 /d"
    assert waiting.reply == b"ok\n"


async def test_an_idle_workers_death_is_not_told_of_the_message_that_it_had(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crew = make(max_workers=1)
    client = Client(crew, nursery)
    await settle()
    assert await answer(kernel.processes[0])
    assert client.reply == b"ok\n"
    die(crew, kernel.processes[0])
    await settle()
    (told,) = [text for text in caplog.messages if "DIED UNEXPECTEDLY" in text]
    assert told.startswith("Reap: worker 0 ")


async def test_answer_of_a_worker_that_died_behind_it_is_delivered(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=1)
    client = Client(crew, nursery)
    await settle()
    kernel.processes[0].say(b"ok\n")
    die(crew, kernel.processes[0])
    await settle()
    assert client.reply == b"ok\n"
    assert pool_of(crew).in_state(State.STOPPED) == 1


async def test_dead_idle_worker_is_never_offered_a_request(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    Client(crew, nursery)
    await settle()
    await answer(kernel.processes[0])
    # It ends, and a request comes before SIGCHLD.
    kernel.processes[0].exit(1)
    client = Client(crew, nursery, b"scan Q2 /d")
    await settle()
    assert await answer(kernel.processes[1]) == b"scan Q2 /d"
    assert client.reply == b"ok\n"
    crew.reap()
    assert pool_of(crew).in_state(State.STOPPED) == 1


async def test_worker_that_dies_at_its_start_costs_one_request_and_no_further_worker(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    kernel.stillborn = True
    crew = make(min_workers=1, queue_size=0)
    client = Client(crew, nursery)
    await settle()
    assert client.reply == NO_RESPONSE
    assert len(kernel.processes) == 1
    crew.reap()
    assert pool_of(crew).in_state(State.STOPPED) == 2


@pytest.mark.parametrize(("busy", "text"), [(3, TIMED_OUT), (4, OVERLOADED)])
async def test_busy_timeout_answers_at_once_and_kills(  # noqa: PLR0917  # fixtures
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    busy: int,
    text: bytes,
) -> None:
    crew = make(max_workers=4)
    began = trio.current_time()
    clients = [Client(crew, nursery) for _ in range(busy)]
    await settle()
    await trio.sleep(121)
    assert text in [client.reply for client in clients]
    assert all(client.at - began == 120 for client in clients)
    victims = {pid for pid, number in kernel.signals if number == SIGTERM}
    assert victims == {process.pid for process in kernel.processes[:busy]}
    await trio.sleep(10)
    assert {pid for pid, number in kernel.signals if number == SIGKILL} == victims
    assert pool_of(crew).in_state(State.KILLED) == busy
    for process in kernel.processes[:busy]:
        die(crew, process)


async def test_garbled_worker_is_replaced_after_its_answer(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crew = make(max_workers=1)
    client = Client(crew, nursery)
    await settle()
    await answer(kernel.processes[0], b"ok 1 a 250 2.1.0 0\nok 0 b 554 5.7.1 0\n")
    assert client.reply == b"ok 1 a 250 2.1.0 0\n"
    assert "Garbled" in caplog.text
    assert pool_of(crew).in_state(State.KILLED) == 1
    later = Client(crew, nursery, b"scan Q2 /d")
    await settle()
    die(crew, kernel.processes[0], 0)
    assert await answer(kernel.processes[1]) == b"scan Q2 /d"
    assert later.reply == b"ok\n"


async def test_late_second_line_never_answers_the_next_request(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=2)
    Client(crew, nursery)
    await settle()
    await answer(kernel.processes[0])
    kernel.processes[0].say(b"ok 1 late 250 2.1.0 0\n")
    client = Client(crew, nursery, b"relayok 1")
    await settle()
    assert await answer(kernel.processes[1], b"ok 0 no 554 5.7.1 0\n") == b"relayok 1"
    assert client.reply == b"ok 0 no 554 5.7.1 0\n"
    assert pool_of(crew).in_state(State.KILLED) == 1


async def test_program_that_cannot_be_started_is_logged_and_refused(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernel.failing = True
    crew = make(queue_size=0)
    client = Client(crew, nursery)
    await settle()
    assert client.reply == NO_ACTIVATION
    assert "/worker: No such file or directory" in caplog.text
    kernel.failing = False
    await trio.sleep(5)
    assert len(kernel.processes) == 1


async def test_steps_are_told_in_their_order_even_if_a_start_fails_at_once(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[Event] = []
    kernel.failing = True
    crew = make(queue_size=0, watches=[told.append])
    client = Client(crew, nursery)
    await settle()
    assert client.reply == NO_ACTIVATION
    steps = [(one.old.name, one.new.name) for one in told if isinstance(one, Moved)]
    assert steps[-3:] == [("STOPPED", "IDLE"), ("IDLE", "BUSY"), ("BUSY", "STOPPED")]


async def test_those_who_watch_hear_of_timeouts_rereads_and_tags(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[Event] = []
    crew = make(status_tags=True, watches=[told.append])
    client = Client(crew, nursery)
    await settle()
    status = kernel.processes[0].status
    assert status is not None
    os.write(status, b"1:%20>%20Parsing\n")
    await settle()
    await trio.sleep(121)
    assert client.reply == TIMED_OUT
    await crew.reread()
    assert [one for one in told if not isinstance(one, Moved)] == [
        Tagged(number=0, tag=b"1: > Parsing"),
        TimeoutHit(number=0),
        RereadForced(),
    ]


async def test_reread_replaces_idle_and_busy_workers(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=2)
    clients = [Client(crew, nursery) for _ in range(2)]
    await settle()
    idle, busy = kernel.processes
    await answer(idle)
    await crew.reread()
    await settle()
    assert await idle.read_line() == b""
    die(crew, idle, 0)
    await answer(busy)
    assert [client.reply for client in clients] == [b"ok\n", b"ok\n"]
    assert await busy.read_line() == b""
    die(crew, busy, 0)
    assert pool_of(crew).in_state(State.STOPPED) == 2


async def test_stop_answers_queued_requests_at_once_and_those_in_work_when_done(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=1)
    working = Client(crew, nursery)
    await settle()
    waiting = Client(crew, nursery)
    await settle()
    crew.stop()
    await settle()
    assert waiting.reply == STOPPING
    assert working.reply is None
    await answer(kernel.processes[0])
    assert working.reply == b"ok\n"
    assert await kernel.processes[0].read_line() == b""
    die(crew, kernel.processes[0], 0)
    await crew.wait_gone()


async def test_request_given_up_at_the_stop_is_told_so(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=1)
    client = Client(crew, nursery)
    await settle()
    crew.stop()
    crew.abandon()
    await settle()
    assert client.reply == GIVEN_UP
    assert (kernel.processes[0].pid, SIGTERM) in kernel.signals
    die(crew, kernel.processes[0])
    await crew.wait_gone()


async def test_standard_error_is_logged_with_queue_id_and_worker(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    crew = make(verbose=False)
    Client(crew, nursery)
    await settle()
    kernel.processes[0].complain(b"what I see\n")
    await settle()
    assert "Q1: Worker 0 stderr: what I see" in caplog.messages


async def test_line_of_a_worker_is_logged_at_its_level_and_with_one_queue_id(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    crew = make(verbose=False)
    Client(crew, nursery)
    await settle()
    kernel.processes[0].complain(b"<4>Q1: odd\n<3>Q1: wrong\nQ1: usual\n<0>no alarm\n")
    await settle()
    told = [(one.levelname, one.getMessage()) for one in caplog.records if "stderr" in one.getMessage()]
    assert told == [
        ("WARNING", "Q1: Worker 0 stderr: odd"),
        ("ERROR", "Q1: Worker 0 stderr: wrong"),
        ("INFO", "Q1: Worker 0 stderr: usual"),
        ("INFO", "Q1: Worker 0 stderr: <0>no alarm"),
    ]


async def test_a_worker_that_writes_without_end_is_logged_in_part_with_its_last_words(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    crew = make(verbose=False)
    client = Client(crew, nursery)
    await settle()
    process = kernel.processes[0]
    for _ in range(20):
        process.complain(b"more\n" * 500)
        await settle()
    process.complain(b"Fatal Python error\n")
    die(crew, process, 3)
    await settle()
    assert client.reply == NO_RESPONSE
    assert caplog.messages.count("Q1: Worker 0 stderr: more") < 1100
    assert "Q1: Worker 0 stderr: (8951 lines left out: it writes too many)" in caplog.messages
    assert "Q1: Worker 0 stderr: Fatal Python error" in caplog.messages


async def test_requests_that_wait_and_what_a_worker_took_are_logged_if_wanted(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    crew = make(verbose=True, max_workers=1, max_requests=1)
    Client(crew, nursery)
    await settle()
    Client(crew, nursery, b"scan Q2 /d")
    await settle()
    assert "Q2: No worker is free: 1 in the queue" in caplog.messages
    (process,) = kernel.processes
    await answer(process)
    await answer(process)
    die(crew, process, 0)
    (usage,) = [text for text in caplog.messages if "resource usage" in text]
    numbers = r"user=\d+\.\d{3}, sys=\d+\.\d{3}, nswap=\d+, majflt=\d+, minflt=\d+, maxrss=\d+, bi=\d+, bo=\d+"
    assert re.fullmatch(rf"Worker 0 resource usage: req=2, scans=2, {numbers}", usage)


async def test_cause_of_early_deaths_is_named_once(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    crew = make(max_workers=1, min_workers=1)
    for _ in range(4):
        await trio.sleep(70)
        process = kernel.processes[-1]
        process.complain(b"Traceback\nSyntaxError: line 3\n")
        die(crew, process, 2)
        await settle()
    assert len(kernel.processes) == 4
    assert sum("stderr: SyntaxError: line 3" in text for text in caplog.messages) == 4
    assert sum("check the filter: SyntaxError: line 3" in text for text in caplog.messages) == 1
    assert sum("DIED UNEXPECTEDLY" in text for text in caplog.messages) == 4
    delays = [text for text in caplog.messages if "Next start" in text]
    assert delays == [f"Next start of a worker in {delay} s at the earliest" for delay in (1, 2, 4)]


async def test_status_tag_shows_while_the_worker_is_busy(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(status_tags=True)
    Client(crew, nursery)
    await settle()
    process = kernel.processes[0]
    assert process.status is not None
    os.write(process.status, b"1:%20>%20Parsing\n")
    await settle()
    assert pool_of(crew).slots[0].tag == b"1: > Parsing"
    await answer(process)
    os.write(process.status, b"late\n")
    await settle()
    assert pool_of(crew).slots[0].tag == b""


# State

STATEFUL = SCAN + b' "AAAA"'
CHANGED = b'ok "BBBB"-\n'
ABILITIES = abilities.encode(abilities.ALL)


async def test_state_is_taken_off_for_a_worker_that_does_not_know_it(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    plain = b"relayok 192.0.2.7 x 1 192.0.2.1 25 NOQUEUE"
    crew = make()
    client = Client(crew, nursery, plain + b' "AAAA"')
    await settle()
    (process,) = kernel.processes
    assert await answer(process, b"error: Unknown command\n") == QUESTION_TO_WORKER
    assert await answer(process) == plain
    assert client.reply == b"ok\n"
    again = Client(crew, nursery, plain + b' "AAAA"')
    await settle()
    assert await answer(process) == plain
    assert again.reply == b"ok\n"


async def test_a_worker_that_knows_state_is_asked_once_and_gets_it(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=1)
    client = Client(crew, nursery, STATEFUL)
    await settle()
    (process,) = kernel.processes
    assert await answer(process, ABILITIES) == QUESTION_TO_WORKER
    assert await answer(process, CHANGED) == STATEFUL
    assert client.reply == CHANGED
    again = Client(crew, nursery, STATEFUL)
    await settle()
    assert await answer(process, CHANGED) == STATEFUL
    assert again.reply == CHANGED
    die(crew, process)
    third = Client(crew, nursery, STATEFUL)
    await settle()
    assert await answer(kernel.processes[1], ABILITIES) == QUESTION_TO_WORKER
    assert await answer(kernel.processes[1]) == STATEFUL
    assert third.reply == b"ok\n"


@pytest.mark.parametrize("word", [b' """', b' "AAAA""', b' ""AAAA"'])
@pytest.mark.parametrize("knows_wish", [False, True])
async def test_the_wish_for_results_on_the_answer_is_taken_off_for_a_worker_that_does_not_know_it(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    word: bytes,
    *,
    knows_wish: bool,
) -> None:
    client = Client(make(), nursery, SCAN + word)
    await settle()
    (process,) = kernel.processes
    told = abilities.encode(abilities.ALL if knows_wish else abilities.ALL - {Ability.RESULTS_ON_ANSWER})
    assert await answer(process, told) == QUESTION_TO_WORKER
    results = encode_results(b"x" * MAX_RESULTS_ON_ANSWER_BYTES)
    assert await answer(process, results) == SCAN + (word if knows_wish else word[:-1])
    assert client.reply == results


async def test_a_request_without_state_asks_nothing(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    client = Client(make(), nursery)
    await settle()
    assert await answer(kernel.processes[0]) == SCAN
    assert client.reply == b"ok\n"


async def test_state_that_cannot_be_read_is_passed_on_for_the_worker_to_refuse(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    client = Client(make(), nursery, SCAN + b' "!')
    await settle()
    assert await answer(kernel.processes[0], b"error: no\n") == SCAN + b' "!'
    assert client.reply == b"error: no\n"


async def test_a_long_answer_is_whole_if_it_is_long_for_its_state(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    client = Client(make(), nursery, STATEFUL)
    await settle()
    (process,) = kernel.processes
    await answer(process, ABILITIES)
    long = b'ok "' + b"B" * 30_000 + b'"-\n'
    await answer(process, long)
    assert client.reply == long


async def test_a_worker_that_dies_of_the_question_is_a_failure_of_the_request(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    client = Client(crew, nursery, STATEFUL)
    await settle()
    die(crew, kernel.processes[0])
    await settle()
    assert client.reply == NO_RESPONSE


async def test_question_and_request_together_have_the_time_of_one_request(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    began = trio.current_time()
    client = Client(make(), nursery, STATEFUL)
    await settle()
    await trio.sleep(100)
    await answer(kernel.processes[0], ABILITIES)
    await trio.sleep(21)
    assert client.reply == TIMED_OUT
    assert client.at == began + 120


# Header files


def stateful_scan(directory: Path) -> bytes:
    return b'scan Q1 %b ""' % os.fsencode(directory)


async def test_a_worker_that_needs_header_files_does_not_get_a_message_without(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    line = stateful_scan(tmp_path)
    crew = make(max_workers=1)
    client = Client(crew, nursery, line)
    await settle()
    (process,) = kernel.processes
    assert await answer(process, b"error: Unknown command\n") == QUESTION_TO_WORKER
    assert client.reply == HEADER_FILES_WANTED
    for name in ("HEADERS", "PRISTINE_HEADERS"):
        (tmp_path / name).touch()
    again = Client(crew, nursery, line)
    await settle()
    assert await answer(process) == line.removesuffix(b' ""')
    assert again.reply == b"ok\n"


async def test_a_worker_with_state_that_needs_header_files_gets_both(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    line = stateful_scan(tmp_path)
    crew = make(max_workers=1)
    client = Client(crew, nursery, line)
    await settle()
    await answer(kernel.processes[0], abilities.encode([Ability.STATE]))
    assert client.reply == HEADER_FILES_WANTED
    (tmp_path / "PRISTINE_HEADERS").touch()
    Client(crew, nursery, line)
    await settle()
    assert await answer(kernel.processes[0]) == line


async def test_what_a_worker_lacks_is_no_fault_of_anybody(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    crew = make()
    Client(crew, nursery, stateful_scan(tmp_path))
    await settle()
    await answer(kernel.processes[0], b"error: Unknown command\n")
    assert ledger.outcome_of_answer(HEADER_FILES_WANTED) is ledger.Outcome.ANSWERED
    assert pool_of(crew).slots[0].state is State.IDLE


async def test_a_scan_that_cannot_be_read_is_passed_on_for_the_worker_to_refuse(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    client = Client(make(), nursery, b'scan Q1 ""')
    await settle()
    await answer(kernel.processes[0], b"error: Unknown command\n")
    assert await answer(kernel.processes[0], b"error: no\n") == b"scan Q1"
    assert client.reply == b"error: no\n"
