# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers from templates: with templates and workers in memory, and a clock that jumps."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
import trio
import trio.testing

from defang_mux.pool.ledger import Ledger
from defang_mux.pool.policy import NO_ACTIVATION, Pool
from defang_mux.pool.state import State
from defang_mux.process.crew import Crew, Orders
from defang_mux.process.kill import Patience
from defang_mux.process.poison_guard import Outcome, PoisonOrders
from defang_mux.process.spawn import Program
from defang_mux.process.starter import Starting
from tests.mux.conftest import FakeKernel, FakeTemplate
from tests.mux.crews import LOG, SCAN, Client, Make, answer, die, limits, pool_of, settle

READY = (b"template 1", b"ready")


class Rereading:
    """`reread` in a task of its own."""

    def __init__(self, crew: Crew, nursery: trio.Nursery) -> None:
        self.done = False
        self.fault: str | None = None

        async def reread() -> None:
            self.fault = await crew.reread()
            self.done = True

        nursery.start_soon(reread)


@pytest.fixture
async def make(kernel: FakeKernel, nursery: trio.Nursery) -> AsyncIterator[Make]:
    def make_crew(*, starting: Starting = Starting.AUTO, max_workers: int = 2) -> Crew:
        orders = Orders(
            program=Program(path=Path("/worker"), rules=None, status_tags=False),
            starting=starting,
            busy_timeout_s=120,
            patience=Patience(stop_grace_s=10, kill_grace_s=10),
            verbose=True,
            poison=PoisonOrders(outcome=Outcome.NONE, store=Path("/nowhere")),
        )
        pool = Pool(limits(max_workers=max_workers), now=trio.current_time(), epoch_offset_s=0)
        crew = Crew(pool, orders, nursery, LOG, ledger=Ledger())
        crew.begin()
        return crew

    yield make_crew
    nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def kill_at_once(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that gets KILL is gone; who reaps it is another matter."""

    def killpg(pid: int, number: int) -> None:
        kernel.signals.append((pid, number))
        target = kernel.child(pid)
        if number == SIGKILL and isinstance(target, FakeTemplate):
            target.exit(9)

    monkeypatch.setattr(os, "killpg", killpg)


def is_waiting(template: FakeTemplate) -> bool:
    """Whether the template has no order to carry out."""
    try:
        template.order()
    except BlockingIOError:
        return True
    return False


async def test_request_waits_for_the_template_and_goes_to_the_worker_that_it_forks(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    client = Client(crew, nursery)
    await settle()
    (template,) = kernel.templates
    assert is_waiting(template)
    template.say(*READY)
    await settle()
    process = kernel.fork(template)
    assert await answer(process) == SCAN
    assert client.reply == b"ok\n"
    assert len(kernel.processes) == 1
    die(crew, process)


@pytest.mark.parametrize("last_words", [b"", b"usage: worker\n"])
async def test_program_that_is_no_template_is_started_for_each_worker(  # noqa: PLR0917  # fixtures
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    last_words: bytes,
) -> None:
    caplog.set_level(logging.INFO)
    crew = make()
    client = Client(crew, nursery)
    await settle()
    kernel.templates[0].complain(last_words)
    die(crew, kernel.templates[0])
    await settle()
    assert await answer(kernel.processes[0]) == SCAN
    assert client.reply == b"ok\n"
    again = Client(crew, nursery)
    await settle()
    assert await answer(kernel.processes[0]) == SCAN
    assert again.reply == b"ok\n"
    assert len(kernel.templates) == 1
    assert "are started as programs" in caplog.text
    assert (crew._ledger.filter_fault, crew._ledger.tries_filter) == (None, False)
    assert "ERROR" not in {record.levelname for record in caplog.records}


async def test_program_that_must_be_a_template_and_is_none_is_a_fault(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(starting=Starting.FORK)
    client = Client(crew, nursery)
    await settle()
    die(crew, kernel.templates[0])
    await settle()
    assert client.reply == NO_ACTIVATION
    assert not kernel.processes


async def test_filter_that_cannot_be_forked_is_started_as_program(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client(make(starting=Starting.FORK), nursery)
    await settle()
    kernel.templates[0].say(b"template 1", b"unforkable it has threads")
    await settle()
    assert await answer(kernel.processes[0]) == SCAN
    assert client.reply == b"ok\n"
    assert "it has threads" in caplog.text
    # It is told to go.
    assert kernel.templates[0].order()[0] == b""


async def test_fault_of_the_filter_refuses_what_waits_is_logged_whole_and_paces_the_next_template(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crew = make()
    nursery.start_soon(crew.keep_time)
    clients = [Client(crew, nursery) for _ in range(2)]
    await settle()
    kernel.templates[0].say(b"template 1", b"fault /f.py:7: NameError\nTraceback")
    await settle()
    assert [client.reply for client in clients] == [NO_ACTIVATION] * 2
    assert "/f.py:7: NameError\nTraceback" in caplog.text
    assert crew._ledger.filter_fault == "/f.py:7: NameError\nTraceback"
    assert crew._ledger.tries_filter
    assert pool_of(crew).in_state(State.STOPPED) == 2
    die(crew, kernel.templates[0])
    # One fault, one step of the throttle.
    assert pool_of(crew).start_delay_s(trio.current_time()) == 1
    waiting = Client(crew, nursery)
    await settle()
    assert len(kernel.templates) == 1
    await trio.sleep(1.1)
    kernel.templates[1].say(*READY)
    await settle()
    assert await answer(kernel.fork(kernel.templates[1])) == SCAN
    assert waiting.reply == b"ok\n"
    assert crew._ledger.filter_fault is None


async def test_template_that_dies_with_orders_is_replaced_and_they_are_kept(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(max_workers=3)
    first = Client(crew, nursery)
    await settle()
    kernel.templates[0].say(*READY)
    await settle()
    one = kernel.fork(kernel.templates[0])
    await settle()
    others = [Client(crew, nursery, b"scan Q%d /d" % number) for number in (2, 3)]
    await settle()
    die(crew, kernel.templates[0], 9)
    await settle()
    second = kernel.templates[1]
    second.say(*READY)
    await settle()
    lines = []
    for _ in range(2):
        lines.append(await answer(kernel.fork(second)))
        await settle()
    assert sorted(lines) == [b"scan Q2 /d", b"scan Q3 /d"]
    assert [client.reply for client in others] == [b"ok\n"] * 2
    assert await answer(one) == SCAN
    assert first.reply == b"ok\n"


async def test_stopped_template_is_killed_when_an_order_takes_too_long(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    Client(crew, nursery)
    await settle()
    kernel.templates[0].say(*READY)
    await settle()
    kernel.fork(kernel.templates[0])
    await settle()
    client = Client(crew, nursery)
    await trio.sleep(9)
    assert len(kernel.templates) == 1
    await trio.sleep(2)
    # Continued, it could still carry the order out.
    assert [number for pid, number in kernel.signals if pid == kernel.templates[0].pid] == [SIGKILL]
    crew.reap()
    kernel.templates[1].say(*READY)
    await settle()
    await answer(kernel.fork(kernel.templates[1]))
    assert client.reply == b"ok\n"


async def test_worker_that_its_dead_template_has_begun_to_fork_is_waited_for(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    first = Client(crew, nursery)
    await settle()
    template = kernel.templates[0]
    template.say(*READY)
    await settle()
    one = kernel.fork(template)
    await settle()
    second = Client(crew, nursery, b"scan Q2 /d")
    await settle()
    # Killed with a fork half done, on a machine that has no time for that: the fork has the template's socket.
    template.exit_status = 9
    crew.reap()
    await trio.sleep(9)
    assert await answer(kernel.fork(template)) == b"scan Q2 /d"
    assert await answer(one) == SCAN
    assert [first.reply, second.reply] == [b"ok\n"] * 2
    template.close()
    await settle()
    assert crew.pids() == [one.pid, kernel.processes[1].pid, kernel.templates[1].process.pid]


async def test_others_do_not_wait_until_a_dead_template_lets_go_of_its_socket(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    Client(crew, nursery)
    await settle()
    template = kernel.templates[0]
    template.say(*READY)
    await settle()
    kernel.fork(template)
    await settle()
    template.exit_status = 9
    crew.reap()
    client = Client(crew, nursery, b"scan Q2 /d")
    await settle()
    kernel.templates[1].say(*READY)
    await settle()
    assert await answer(kernel.fork(kernel.templates[1])) == b"scan Q2 /d"
    assert client.reply == b"ok\n"
    template.close()
    await settle()
    assert len(kernel.templates) == 2


async def test_request_whose_worker_may_still_come_is_refused_in_the_end_and_not_given_to_another(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    Client(crew, nursery)
    await settle()
    template = kernel.templates[0]
    template.say(*READY)
    await settle()
    kernel.fork(template)
    await settle()
    client = Client(crew, nursery, b"scan Q2 /d")
    await settle()
    template.exit_status = 9
    crew.reap()
    await settle()
    kernel.templates[1].say(*READY)
    await trio.sleep(21)
    # Something still holds the socket, and so perhaps the pipe in which the request is.
    assert client.reply == NO_ACTIVATION
    assert is_waiting(kernel.templates[1])
    template.close()


@pytest.mark.parametrize(
    "packets",
    [
        (b"hello",),
        (b"template 2",),
        (b"template 1", b"template 1"),
        (b"template 1", b"ready", b"ready"),
        (b"template 1", b"ready", b"fault x"),
        (b"template 1", b"ready", b"serving 99"),
        (b"template 1", b"ready", b"failed 99 x"),
        (b"ready",),
        (b"template 1", b""),
        (b"template 1", b"ready", b"\xff" * 16384),
    ],
)
async def test_garbage_costs_the_template_its_life_and_no_more(
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    packets: tuple[bytes, ...],
) -> None:
    crew = make(starting=Starting.FORK)
    template = kernel.templates[0]
    template.say(*packets)
    await settle()
    assert (template.pid, SIGKILL) in kernel.signals
    crew.reap()
    await settle()
    client = Client(crew, nursery)
    await settle()
    kernel.templates[1].say(*READY)
    await settle()
    await answer(kernel.fork(kernel.templates[1]))
    assert client.reply == b"ok\n"


async def test_slow_hello_and_slow_loading_end(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make(starting=Starting.FORK)
    await trio.sleep(31)
    assert (kernel.templates[0].pid, SIGKILL) in kernel.signals
    crew.reap()
    client = Client(crew, nursery)
    await settle()
    kernel.templates[1].say(b"template 1")
    await trio.sleep(119)
    assert client.reply is None
    await trio.sleep(2)
    assert client.reply == NO_ACTIVATION
    assert (kernel.templates[1].pid, SIGKILL) in kernel.signals


async def test_failed_fork_refuses_its_request_and_no_other(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    clients = []
    for _ in range(2):
        clients.append(Client(crew, nursery))
        await settle()
    template = kernel.templates[0]
    template.say(*READY)
    await settle()
    packet, _ = template.order()
    template.say(packet.replace(b"fork", b"failed") + b" no memory")
    await settle()
    assert clients[0].reply == NO_ACTIVATION
    await answer(kernel.fork(template))
    assert clients[1].reply == b"ok\n"


async def test_worker_that_has_not_begun_can_be_ended(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    client = Client(crew, nursery)
    await settle()
    kernel.templates[0].say(*READY)
    await settle()
    crew.stop()
    crew.abandon()
    await settle()
    assert client.reply is not None
    assert pool_of(crew).in_state(State.KILLED) == 1
    process = kernel.fork(kernel.templates[0])
    await settle()
    assert (process.pid, SIGTERM) in kernel.signals
    assert await process.read_line() == SCAN
    assert await process.read_line() == b""
    die(crew, process)
    assert pool_of(crew).in_state(State.STOPPED) == 2


async def test_order_that_no_template_has_got_is_taken_back(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    client = Client(crew, nursery)
    await settle()
    crew.stop()
    crew.abandon()
    await settle()
    assert client.reply is not None
    assert pool_of(crew).in_state(State.STOPPED) == 2
    kernel.templates[0].say(*READY)
    await settle()
    assert is_waiting(kernel.templates[0])


# Rereading


async def test_good_filter_serves_new_requests_and_the_old_one_finishes_its_own(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    old = Client(crew, nursery)
    await settle()
    before = kernel.templates[0]
    before.say(*READY)
    await settle()
    worker = kernel.fork(before)
    reading = Rereading(crew, nursery)
    await settle()
    after = kernel.templates[1]
    after.say(b"template 1")
    await settle()
    assert not reading.done
    after.say(b"ready")
    await settle()
    assert reading.done
    assert reading.fault is None
    assert before.order()[0] == b""
    new = Client(crew, nursery, b"scan Q2 /d")
    await settle()
    assert await answer(kernel.fork(after)) == b"scan Q2 /d"
    assert await answer(worker) == SCAN
    assert [old.reply, new.reply] == [b"ok\n"] * 2
    assert await worker.read_line() == b""


@pytest.mark.parametrize("end", [b"fault /f.py:1: SyntaxError\nx", None])
async def test_faulty_filter_changes_nothing_and_is_told(  # noqa: PLR0917  # fixtures
    make: Make,
    kernel: FakeKernel,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    end: bytes | None,
) -> None:
    crew = make()
    Client(crew, nursery)
    await settle()
    before = kernel.templates[0]
    before.say(*READY)
    await settle()
    worker = kernel.fork(before)
    await answer(worker)
    reading = Rereading(crew, nursery)
    await settle()
    kernel.templates[1].say(b"template 1")
    if end is None:
        die(crew, kernel.templates[1])
    else:
        kernel.templates[1].say(end)
    await settle()
    assert reading.done
    assert reading.fault == crew._ledger.reread_fault
    assert reading.fault == ("it ended" if end is None else "/f.py:1: SyntaxError\nx")
    assert f"nothing has changed: {reading.fault}" in caplog.text
    assert crew._ledger.filter_fault is None
    client = Client(crew, nursery)
    await settle()
    assert await answer(worker) == SCAN
    assert client.reply == b"ok\n"
    assert is_waiting(before)


async def test_fault_that_takes_the_place_of_another_is_remembered(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    await settle()
    for number, fault in enumerate(("first", "second")):
        kernel.templates[number].say(b"template 1", b"fault " + fault.encode())
        await settle()
        assert crew._ledger.filter_fault == fault
        Rereading(crew, nursery)
        await settle()
    kernel.templates[2].say(*READY)
    await settle()
    assert crew._ledger.filter_fault is None


async def test_orders_that_wait_for_a_template_go_to_the_new_one(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    client = Client(crew, nursery)
    await settle()
    kernel.templates[0].say(b"template 1")
    reading = Rereading(crew, nursery)
    await settle()
    kernel.templates[1].say(*READY)
    await settle()
    assert reading.done
    assert await answer(kernel.fork(kernel.templates[1])) == SCAN
    assert client.reply == b"ok\n"


async def test_rereadings_that_are_asked_for_during_one_become_one_more(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    kernel.templates[0].say(*READY)
    first = [Rereading(crew, nursery) for _ in range(2)]
    await settle()
    later = [Rereading(crew, nursery) for _ in range(20)]
    await settle()
    assert len(kernel.templates) == 2
    kernel.templates[1].say(b"template 1", b"fault first")
    await settle()
    assert [reading.fault for reading in first] == ["first"] * 2
    assert not any(reading.done for reading in later)
    assert len(kernel.templates) == 3
    kernel.templates[2].say(*READY)
    await settle()
    assert all(reading.done and reading.fault is None for reading in later)
    assert len(kernel.templates) == 3


async def test_who_no_more_waits_for_a_rereading_takes_it_from_nobody(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    kernel.templates[0].say(*READY)
    async with trio.open_nursery() as impatient:
        Rereading(crew, impatient)
        await settle()
        patient = Rereading(crew, nursery)
        await settle()
        impatient.cancel_scope.cancel()
    kernel.templates[1].say(b"template 1", b"fault first")
    await settle()
    kernel.templates[2].say(b"template 1", b"fault second")
    await settle()
    assert patient.fault == "second"


async def test_template_that_does_not_end_after_its_fault_is_ended(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    kernel.templates[0].say(*READY)
    reading = Rereading(crew, nursery)
    await settle()
    faulty = kernel.templates[1]
    faulty.say(b"template 1", b"fault first")
    await settle()
    assert reading.fault == "first"
    # It was asked to, but has a thread that goes on.
    assert faulty.order() == (b"", [])
    await trio.sleep(11)
    assert (faulty.process.pid, SIGTERM) in kernel.signals
    die(crew, faulty)
    await settle()
    assert crew.pids() == [kernel.templates[0].process.pid]


async def test_no_template_is_started_once_they_are_being_ended(
    make: Make, kernel: FakeKernel, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    crew = make()
    kernel.templates[0].say(*READY)
    readings = [Rereading(crew, nursery) for _ in range(2)]
    await settle()
    crew.stop()
    nursery.start_soon(crew.wait_gone)
    await settle()
    for template in kernel.templates:
        die(crew, template, 0)
    await settle()
    assert [reading.fault for reading in readings] == ["the multiplexor is stopping"] * 2
    assert len(kernel.templates) == 2
    assert crew.pids() == []
