# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool's decisions: tables for the rules, and a state machine for what must hold whatever happens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from defang_mux.pool.choice import choose
from defang_mux.pool.policy import (
    DOMAIN_LIMIT,
    NO_ACTIVATION,
    NO_FREE_WORKERS,
    QUEUE_TIMED_OUT,
    STOPPING,
    Pool,
)
from defang_mux.pool.state import (
    TRANSITIONS,
    Action,
    Assign,
    ImpossibleMove,
    Kill,
    Kind,
    Limits,
    Moved,
    Refuse,
    Retire,
    Slot,
    Start,
    State,
    Ticket,
    kind_of,
)

SCAN = b"scan Q1 /spool/mdefang-Q1"


def make_pool(**changed: Any) -> Pool:
    limits: dict[str, Any] = {
        "min_workers": 1,
        "max_workers": 2,
        "max_requests": 500,
        "idle_timeout_s": 300,
        "start_interval_s": 3,
        "activation_interval_s": 0,
        "queue_size": 0,
        "queue_timeout_s": 30,
    }
    watched = changed.pop("watched", False)
    return Pool(Limits(**(limits | changed)), now=0, epoch_offset_s=0, watched=watched)


def ticket(line: bytes = SCAN) -> Ticket:
    return Ticket(line=line, kind=kind_of(line))


def submit(pool: Pool, now: float = 0, line: bytes = SCAN) -> Ticket:
    asked = ticket(line)
    pool.submit(asked, now)
    return asked


def slot_of(asked: Ticket) -> Slot:
    assert asked.slot is not None
    return asked.slot


def letters(pool: Pool) -> str:
    return "".join(slot.state.value for slot in pool.slots)


# Age


def test_a_worker_is_replaced_after_its_request_when_it_is_too_old() -> None:
    pool = make_pool(max_age_s=60)
    pool.wake(0)
    slot = slot_of(submit(pool, 100))
    assert pool.finished(slot, 160) == []
    submit(pool, 160)
    assert pool.finished(slot, 161) == [Retire(slot=slot, reason="Worker has exceeded maximum lifetime of 60 seconds")]


def test_age_counts_from_the_first_request_and_an_idle_worker_is_looked_at_with_the_idle_timeout() -> None:
    pool = make_pool(min_workers=2, max_age_s=60)
    pool.wake(0)
    pool.wake(3)
    used = slot_of(submit(pool, 10))
    pool.finished(used, 11)
    assert [type(action) for action in pool.wake(299)] == []
    assert [action.slot for action in pool.wake(300) if isinstance(action, Retire)] == [used]


def test_without_a_limit_no_worker_is_too_old() -> None:
    pool = make_pool()
    slot = slot_of(submit(pool, 0))
    assert pool.finished(slot, 1_000_000) == []


# Recipients of a domain


def test_recipients_of_one_domain_are_limited_and_those_of_others_are_not() -> None:
    pool = make_pool(max_workers=4, domain_recipients=2)
    for address in (b"<a@Example.org>", b"<b@example.ORG>"):
        assert submit(pool, 0, b"recipok %b <s@x>" % address).refusal is None
    assert submit(pool, 0, b"recipok <c@example.org> <s@x>").refusal == DOMAIN_LIMIT
    assert submit(pool, 0, b"recipok <c@example.com> <s@example.org>").refusal is None
    assert submit(pool, 0, b"scan <c@example.org> /d").refusal is None


def test_a_recipient_may_be_checked_again_when_another_is_done() -> None:
    pool = make_pool(domain_recipients=1)
    line = b"recipok <a@example.org> <s@x>"
    first = submit(pool, 0, line)
    assert submit(pool, 0, line).refusal == DOMAIN_LIMIT
    pool.finished(slot_of(first), 1)
    assert submit(pool, 1, line).refusal is None


def test_recipients_that_wait_count_towards_the_limit_of_their_domain() -> None:
    pool = make_pool(max_workers=1, queue_size=9, domain_recipients=1)
    submit(pool)
    line = b"recipok <a@example.org> <s@x>"
    assert submit(pool, 0, line).refusal is None
    assert submit(pool, 0, line).refusal == DOMAIN_LIMIT


def test_recipients_without_a_domain_are_not_limited() -> None:
    pool = make_pool(max_workers=3, domain_recipients=1)
    assert [submit(pool, 0, b"recipok <root> <s@x>").refusal for _ in range(3)] == [None] * 3


# Autoscaling


def test_a_worker_is_started_when_all_have_been_busy_for_some_checks() -> None:
    pool = make_pool(max_workers=3, autoscale=True, idle_timeout_s=10_000)
    submit(pool)
    started = [now for now in range(0, 121, 15) if any(isinstance(action, Start) for action in pool.wake(now))]
    # 0.25, 0.44, 0.58, 0.68, 0.76, 0.82: then one of two is idle.
    assert started == [90]
    assert letters(pool) == "BIS"


def test_a_worker_is_ended_when_most_have_been_idle_and_then_no_other_for_a_while() -> None:
    pool = make_pool(max_workers=4, autoscale=True, idle_timeout_s=10_000)
    pool.wake(0)
    for asked in [submit(pool, 0) for _ in range(4)]:
        pool.finished(slot_of(asked), 0)
    ended = []
    for now in range(15, 301, 15):
        for action in pool.wake(now):
            if isinstance(action, Retire):
                ended.append(now)
                pool.reaped(action.slot, now)
    assert ended == [45, 90, 135]
    assert letters(pool).count("I") == 1


def test_without_autoscaling_there_are_no_checks() -> None:
    pool = make_pool(idle_timeout_s=10_000)
    pool.wake(0)
    assert pool.wake_at() == 10_000


# Those who watch


def test_a_pool_that_is_watched_tells_each_step_with_the_numbers_after_it() -> None:
    pool = make_pool(watched=True)
    asked = ticket()
    actions = pool.submit(asked, 0)
    slot = slot_of(asked)
    actions += pool.finished(slot, 5, unfit="worn out")
    actions += pool.reaped(slot, 6)
    told = [action for action in actions if isinstance(action, Moved)]
    assert [(one.old.name, one.new.name, one.running, one.busy, one.free) for one in told] == [
        ("STOPPED", "IDLE", 1, 0, 2),
        ("IDLE", "BUSY", 1, 1, 1),
        ("BUSY", "IDLE", 1, 0, 2),
        ("IDLE", "KILLED", 1, 0, 1),
        ("KILLED", "STOPPED", 0, 0, 2),
    ]
    assert [one.line for one in told] == [b"", SCAN, SCAN, b"", b""]
    assert (told[3].reason, told[3].requests, told[3].age_s) == ("worn out", 1, 5)
    assert not any(one.unexpected for one in told)


def test_an_end_by_itself_is_told_as_such() -> None:
    pool = make_pool(watched=True)
    pool.wake(0)
    (idle,) = [action for action in pool.reaped(pool.slots[0], 1) if isinstance(action, Moved)]
    assert idle.unexpected
    asked = submit(pool, 2)
    slot = slot_of(asked)
    told = [*pool.broken(slot, 3, reason="Died", died=True), *pool.reaped(slot, 3)]
    assert [one.unexpected for one in told if isinstance(one, Moved)] == [True, True]


# Starting


def test_first_worker_starts_at_once_and_the_others_at_intervals() -> None:
    pool = make_pool(min_workers=3, max_workers=4)
    assert pool.wake_at() == 0
    starts = []
    for now in (0, 1, 3, 5, 6, 9):
        starts += [now for action in pool.wake(now) if isinstance(action, Start)]
    assert starts == [0, 3, 6]
    assert letters(pool) == "IIIS"


def test_request_without_an_idle_worker_starts_one_and_gets_it() -> None:
    pool = make_pool()
    asked = ticket()
    actions = pool.submit(asked, 0)
    assert [type(action) for action in actions] == [Start, Assign]
    assert slot_of(asked).number == 0
    assert letters(pool) == "BS"


def test_worker_below_the_minimum_is_replaced_after_the_interval() -> None:
    pool = make_pool(min_workers=1)
    pool.wake(0)
    pool.slots[0].answered = True
    pool.reaped(pool.slots[0], 10)
    assert pool.wake(12) == []
    assert [type(action) for action in pool.wake(13)] == [Start]


def test_a_request_that_may_not_wait_is_refused_at_once() -> None:
    pool = make_pool(max_workers=1, queue_size=5)
    submit(pool)
    hasty = Ticket(line=b"map a b", kind=kind_of(b"map a b"), may_wait=False)
    assert pool.submit(hasty, 0) == [Refuse(ticket=hasty)]
    assert hasty.refusal == NO_FREE_WORKERS
    assert pool.queued == 0
    assert submit(pool).refusal is None


def test_activation_interval_refuses_or_queues() -> None:
    pool = make_pool(activation_interval_s=5)
    submit(pool)
    assert submit(pool, 1).refusal == NO_ACTIVATION
    assert submit(pool, 5).slot is not None

    pool = make_pool(activation_interval_s=5, queue_size=1)
    submit(pool)
    waits = submit(pool, 1)
    assert pool.wake_at() == 5
    pool.wake(5)
    assert slot_of(waits).number == 1


# Which worker


@pytest.mark.parametrize(
    ("idle", "wanted", "chosen"),
    [
        # The idle list runs from the longest idle to the newest; a worker is (number, activated, last).
        ([(0, 0, Kind.SCAN), (1, 1, Kind.RECIPOK)], Kind.SCAN, 0),
        ([(0, 0, Kind.SCAN), (1, 1, Kind.SCAN)], Kind.SCAN, 0),
        ([(1, 1, Kind.SCAN), (0, 0, Kind.SCAN)], Kind.SCAN, 0),
        ([(0, 0, None), (1, 1, Kind.SCAN)], Kind.SCAN, 0),
        ([(1, 1, None), (0, 0, Kind.SCAN)], Kind.SCAN, 0),
        ([(0, 0, Kind.RECIPOK), (1, 1, Kind.RELAYOK)], Kind.SCAN, 0),
        ([(3, 3, Kind.RECIPOK), (1, 1, Kind.RELAYOK)], Kind.SCAN, 1),
        ([(0, 5, None), (1, 1, None)], Kind.OTHER, 0),
        ([(1, 1, None), (0, 5, None), (2, 0, Kind.SCAN)], Kind.OTHER, 1),
        ([(1, 1, Kind.SCAN), (0, 5, Kind.SCAN)], Kind.OTHER, 1),
    ],
)
def test_worker_is_chosen_by_last_kind_and_age(
    idle: list[tuple[int, int, Kind | None]], wanted: Kind, chosen: int
) -> None:
    slots = [
        Slot(number=number, changed_at=0, state=State.IDLE, activated=activated, last=last)
        for number, activated, last in idle
    ]
    assert choose(slots, wanted).number == chosen


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"scan Q /d", Kind.SCAN),
        (b"scan", Kind.OTHER),
        (b"SCAN Q /d", Kind.OTHER),
        (b"relayok 1", Kind.RELAYOK),
        (b"senderok 1", Kind.SENDEROK),
        (b"recipok 1", Kind.RECIPOK),
        (b"helook 1", Kind.OTHER),
        (b"ping", Kind.OTHER),
    ],
)
def test_kind_is_the_first_word_of_a_line_with_arguments(line: bytes, kind: Kind) -> None:
    assert kind_of(line) is kind


# Queue


def test_without_a_queue_a_request_too_many_is_refused() -> None:
    pool = make_pool()
    submit(pool), submit(pool)
    assert submit(pool).refusal == NO_FREE_WORKERS


def test_queue_is_served_in_order_and_bounded() -> None:
    pool = make_pool(max_workers=1, queue_size=2)
    first, second, third, fourth = (submit(pool) for _ in range(4))
    assert fourth.refusal == NO_FREE_WORKERS
    slot = slot_of(first)
    pool.finished(slot, 1)
    assert slot_of(second) is slot
    assert third.slot is None
    pool.finished(slot, 2)
    assert slot_of(third) is slot


def test_queued_request_times_out_with_its_text() -> None:
    pool = make_pool(max_workers=1, queue_size=2, queue_timeout_s=30)
    submit(pool)
    waits, later = submit(pool, 1), submit(pool, 2)
    assert pool.wake(2) == []
    assert pool.wake_at() == 31
    assert pool.wake(31) == [Refuse(ticket=waits)]
    assert waits.refusal == QUEUE_TIMED_OUT
    assert later.refusal is None


def test_queue_is_served_when_a_dead_worker_is_reaped() -> None:
    pool = make_pool(max_workers=1, queue_size=2)
    asked = submit(pool)
    slot = slot_of(asked)
    slot.answered = True
    waits = submit(pool)
    pool.broken(slot, 1, reason="Busy timeout", died=False)
    assert waits.slot is None
    actions = pool.reaped(slot, 2)
    assert [type(action) for action in actions] == [Start, Assign]
    assert slot_of(waits) is slot


def test_no_request_overtakes_a_queued_one() -> None:
    pool = make_pool(max_workers=1, queue_size=5, activation_interval_s=10)
    slot = slot_of(submit(pool))
    pool.broken(slot, 1, reason="x", died=False)
    waits = submit(pool, 1)
    pool.reaped(slot, 2)
    assert waits.slot is None
    later = submit(pool, 11)
    assert later.slot is None
    pool.wake(11)
    assert slot_of(waits) is slot
    assert later.slot is None


def test_request_that_no_worker_saw_goes_to_another_before_those_that_wait() -> None:
    pool = make_pool(max_workers=2, queue_size=5)
    first, second = submit(pool), submit(pool)
    dead, slot = slot_of(first), slot_of(second)
    waits = submit(pool, 1)
    pool.given_back(dead, 2, reason="dead", died=True)
    assert first.slot is None
    pool.finished(slot, 3)
    assert slot_of(first) is slot
    assert waits.slot is None


def test_request_that_no_worker_saw_gets_an_idle_one_at_once() -> None:
    pool = make_pool()
    first, second = submit(pool), submit(pool)
    pool.finished(slot_of(second), 1)
    dead = slot_of(first)
    actions = pool.given_back(dead, 2, reason="dead", died=True)
    assert [type(action) for action in actions] == [Retire, Assign]
    assert slot_of(first) is not dead
    assert dead.requests == 0


# Ending workers


def test_worker_goes_after_its_last_request() -> None:
    pool = make_pool(max_requests=2)
    slot = slot_of(submit(pool))
    assert pool.finished(slot, 1) == []
    submit(pool, 2)
    (action,) = pool.finished(slot, 3)
    assert isinstance(action, Retire)
    assert letters(pool) == "KS"


def test_worker_serves_a_waiting_queue_up_to_three_times_its_requests() -> None:
    pool = make_pool(max_workers=1, max_requests=2, queue_size=100)
    slot = slot_of(submit(pool))
    for _ in range(20):
        submit(pool)
    served = 0
    while slot.state is State.BUSY:
        pool.finished(slot, served)
        served += 1
    assert served == 6
    assert pool.queued == 21 - 6


def test_reread_ends_idle_workers_at_once_and_busy_ones_when_done() -> None:
    pool = make_pool(max_workers=3, queue_size=3)
    busy, other = submit(pool), submit(pool)
    idle = slot_of(other)
    pool.finished(idle, 1)
    assert pool.reread(2) == [Retire(slot=idle, reason="Forced reread of filter rules")]
    slot = slot_of(busy)
    submit(pool), submit(pool)
    (action,) = pool.finished(slot, 3)
    assert isinstance(action, Retire)
    assert action.slot is slot


def test_no_request_is_refused_because_workers_are_being_replaced() -> None:
    pool = make_pool(max_workers=2, queue_size=0, activation_interval_s=60)
    busy, other = submit(pool), submit(pool, 60)
    idle = slot_of(other)
    pool.finished(idle, 61)
    pool.reread(61)
    assert pool.free_soon == 1
    waits, refused = submit(pool, 61), submit(pool, 61)
    assert waits.refusal is None
    assert refused.refusal == NO_FREE_WORKERS
    assert pool.free_soon == 0
    pool.reaped(idle, 62)
    assert slot_of(waits) is idle
    # The interval between starts is not for those that replace.
    replaced = slot_of(busy)
    pool.finished(replaced, 63)
    lookup = Ticket(line=b"map a b", kind=Kind.OTHER, may_wait=False)
    pool.submit(lookup, 63)
    pool.reaped(replaced, 64)
    assert slot_of(lookup) is replaced


def test_a_worker_that_failed_leaves_no_place_to_wait_for() -> None:
    pool = make_pool(max_workers=1, queue_size=0)
    pool.broken(slot_of(submit(pool)), 1, reason="Busy timeout", died=False)
    assert submit(pool, 1).refusal == NO_FREE_WORKERS
    assert pool.free_soon == 0


def test_worker_with_an_old_filter_serves_no_queued_request_after_a_reread() -> None:
    pool = make_pool(max_workers=1, queue_size=3)
    slot = slot_of(submit(pool))
    waits = submit(pool)
    pool.reread(1)
    pool.finished(slot, 2)
    assert slot.state is State.KILLED
    assert waits.slot is None
    pool.reaped(slot, 3)
    assert slot_of(waits) is slot
    assert slot.retire is None


def test_idle_workers_above_the_minimum_go_longest_idle_first() -> None:
    pool = make_pool(min_workers=1, max_workers=3, idle_timeout_s=100)
    asked = [submit(pool) for _ in range(3)]
    for now, done in enumerate(asked):
        pool.finished(slot_of(done), now)
    assert pool.wake(99) == []
    ended = [action.slot.number for action in pool.wake(200) if isinstance(action, Retire)]
    assert ended == [0, 1]
    assert letters(pool) == "KKI"


def test_unfit_worker_goes_although_requests_wait() -> None:
    pool = make_pool(max_workers=1, queue_size=3)
    slot = slot_of(submit(pool))
    waits = submit(pool)
    (action,) = pool.finished(slot, 1, unfit="Garbled")
    assert action == Retire(slot=slot, reason="Garbled")
    assert waits.slot is None


def test_stop_refuses_the_queue_and_later_requests_and_lets_busy_workers_finish() -> None:
    pool = make_pool(max_workers=1, queue_size=3)
    slot = slot_of(submit(pool))
    waits = submit(pool)
    pool.stop(1)
    assert waits.refusal == STOPPING
    assert submit(pool, 1).refusal == STOPPING
    assert pool.free == 0
    assert slot.state is State.BUSY
    (action,) = pool.finished(slot, 2)
    assert isinstance(action, Retire)
    assert pool.reaped(slot, 3) == []
    assert pool.wake_at() == float("inf")


# Throttle


def test_starts_are_delayed_more_and_more_while_workers_die_before_their_first_answer() -> None:
    pool = make_pool(max_workers=1)
    now, delays = 0.0, []
    for _ in range(9):
        slot = slot_of(submit(pool, now))
        pool.broken(slot, now, reason="Died", died=True)
        pool.reaped(slot, now)
        delays.append(pool.start_delay_s(now))
        if delays[-1]:
            assert submit(pool, now).refusal == NO_ACTIVATION
        now += delays[-1]
    assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_messages_that_kill_a_worker_in_every_slot_delay_nothing() -> None:
    pool = make_pool(max_workers=3)
    for _ in range(3):
        slot = slot_of(submit(pool))
        pool.broken(slot, 0, reason="Died", died=True)
        pool.reaped(slot, 0)
    assert pool.start_delay_s(0) == 0
    slot_of(submit(pool))


def test_answer_and_reread_end_the_throttle() -> None:
    pool = make_pool(max_workers=2)
    for _ in range(3):
        slot = slot_of(submit(pool))
        pool.broken(slot, 0, reason="Died", died=True)
        pool.reaped(slot, 0)
    assert pool.start_delay_s(0) == 1
    pool.reread(0)
    assert pool.start_delay_s(0) == 0
    slot = slot_of(submit(pool))
    pool.finished(slot, 0)
    assert pool.delayed_starts == 0


def test_ends_that_we_wanted_do_not_throttle() -> None:
    pool = make_pool(max_workers=1)
    for _ in range(3):
        slot = slot_of(submit(pool))
        pool.broken(slot, 0, reason="Busy timeout", died=False)
        pool.reaped(slot, 0)
    assert pool.start_delay_s(0) == 0


def test_failed_start_refuses_its_request_and_delays_the_next() -> None:
    pool = make_pool(max_workers=1)
    asked = submit(pool)
    assert pool.start_failed(slot_of(asked), 0) == [Refuse(ticket=asked)]
    assert asked.refusal == NO_ACTIVATION
    assert pool.start_delay_s(0) == 1
    assert letters(pool) == "S"


def test_impossible_move_raises() -> None:
    for state, targets in TRANSITIONS.items():
        for target in State:
            slot = Slot(number=0, changed_at=0, state=state)
            if target in targets:
                slot.move(target, 1)
                assert slot.state is target
            else:
                with pytest.raises(ImpossibleMove):
                    slot.move(target, 1)


# Whatever happens


class PoolMachine(RuleBasedStateMachine):
    """Requests, answers, deaths, timeouts, rereads and failing starts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pool = make_pool(
            min_workers=1,
            max_workers=3,
            max_requests=3,
            queue_size=4,
            queue_timeout_s=20,
            idle_timeout_s=50,
            max_age_s=70,
            domain_recipients=2,
            autoscale=True,
            watched=True,
        )
        self.told = {slot.number: State.STOPPED for slot in self.pool.slots}
        self.all: list[Ticket] = []
        self.ended: dict[Ticket, int] = {}
        self.seen_order: list[Ticket] = []
        self.given_back: set[Ticket] = set()
        self.alive: set[Slot] = set()
        self.starts_fail = False
        self.stopping = False
        # What the pool's own counts have to come to.
        self.starts = 0
        self.handed_over = 0
        self.scans_done = 0

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Moved):
                assert self.told[action.number] is action.old
                assert action.new in TRANSITIONS[action.old]
                self.told[action.number] = action.new
                self.handed_over += action.new is State.BUSY
        for action in actions:
            match action:
                case Start(slot=slot):
                    assert slot not in self.alive
                    assert not self.stopping
                    self.starts += 1
                    if self.starts_fail:
                        self.perform(self.pool.start_failed(slot, self.now))
                    else:
                        self.alive.add(slot)
                case Assign(ticket=asked):
                    if asked.refusal is None:
                        assert asked.slot in self.alive
                        self.seen_order.append(asked)
                case Refuse(ticket=asked):
                    self.end(asked)
                case Retire(slot=slot) | Kill(slot=slot):
                    assert slot.state is State.KILLED
                    assert slot in self.alive

    def end(self, asked: Ticket) -> None:
        self.ended[asked] = self.ended.get(asked, 0) + 1

    def take_reply(self, slot: Slot) -> None:
        """The client has a worker's answer, or word of its failure: one message more, if it was a scan."""
        assert slot.ticket is not None
        self.end(slot.ticket)
        self.scans_done += slot.ticket.kind is Kind.SCAN

    def slots_in(self, state: State) -> list[Slot]:
        return [slot for slot in self.pool.slots if slot.state is state]

    @rule(word=st.sampled_from([b"scan Q /d", b"relayok 1", b"recipok <a@b> x", b"ping"]))
    def ask(self, word: bytes) -> None:
        asked = ticket(word)
        self.all.append(asked)
        self.perform(self.pool.submit(asked, self.now))

    @precondition(lambda self: self.slots_in(State.BUSY))
    @rule(data=st.data(), unfit=st.booleans())
    def answer(self, data: st.DataObject, unfit: bool) -> None:
        slot = data.draw(st.sampled_from(self.slots_in(State.BUSY)))
        self.take_reply(slot)
        self.perform(self.pool.finished(slot, self.now, unfit="Garbled" if unfit else None))

    @precondition(lambda self: self.slots_in(State.BUSY))
    @rule(data=st.data(), died=st.booleans())
    def fail(self, data: st.DataObject, died: bool) -> None:
        slot = data.draw(st.sampled_from(self.slots_in(State.BUSY)))
        self.take_reply(slot)
        self.perform(self.pool.broken(slot, self.now, reason="x", died=died))

    @precondition(lambda self: self.slots_in(State.BUSY))
    @rule(data=st.data())
    def found_dead(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.slots_in(State.BUSY)))
        assert slot.ticket is not None
        self.given_back.add(slot.ticket)
        self.perform(self.pool.given_back(slot, self.now, reason="x", died=True))

    @precondition(lambda self: self.slots_in(State.IDLE) + self.slots_in(State.KILLED))
    @rule(data=st.data())
    def reap(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.slots_in(State.IDLE) + self.slots_in(State.KILLED)))
        self.alive.remove(slot)
        self.perform(self.pool.reaped(slot, self.now))

    @rule(seconds=st.floats(min_value=0, max_value=100))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(1000):
            if self.pool.wake_at() > until:
                break
            self.now = max(self.now, self.pool.wake_at())
            self.perform(self.pool.wake(self.now))
            assert self.pool.wake_at() > self.now
        else:
            raise AssertionError("the pool wants to be woken for ever")
        self.now = until

    @rule()
    def reread(self) -> None:
        self.perform(self.pool.reread(self.now))

    @rule(fail=st.booleans())
    def program_breaks(self, fail: bool) -> None:
        self.starts_fail = fail

    # Seldom, for nothing begins behind it.
    @precondition(lambda self: len(self.all) > 10 and not self.stopping)
    @rule()
    def stop(self) -> None:
        self.stopping = True
        self.perform(self.pool.stop(self.now))

    @invariant()
    def nothing_waits_or_idles_behind_a_stop(self) -> None:
        if self.stopping:
            assert self.pool.queued == self.pool.free == 0
            assert not self.slots_in(State.IDLE)

    @invariant()
    def counts_add_up(self) -> None:
        assert self.pool.counts.activations == self.starts
        assert self.pool.counts.messages == self.scans_done
        assert sum(self.pool.counts.busy_histogram) == self.handed_over
        waits_or_runs = [ticket for ticket in self.all if ticket not in self.ended]
        assert len({ticket for ticket in waits_or_runs if ticket.slot is None}) == self.pool.queued

    @invariant()
    def those_who_watch_know_each_state(self) -> None:
        assert self.told == {slot.number: slot.state for slot in self.pool.slots}

    @invariant()
    def every_request_is_in_one_place(self) -> None:
        waiting = self.pool.queued
        in_work = len(self.slots_in(State.BUSY))
        assert len(self.all) == len(self.ended) + waiting + in_work
        assert all(times == 1 for times in self.ended.values())
        for slot in self.pool.slots:
            assert (slot.ticket is not None) == (slot.state is State.BUSY)
            assert slot.ticket is None or slot.ticket.slot is slot

    @invariant()
    def limits_hold(self) -> None:
        # Beyond the queue's size, one for each worker that was being replaced when it came.
        assert self.pool.queued <= 4 + 3
        assert len(self.alive) == self.pool.running <= 3
        assert {slot for slot in self.pool.slots if slot.state is not State.STOPPED} == self.alive
        assert sum(self.pool.in_state(state) for state in State) == 3
        if not self.stopping:
            assert self.pool.free == self.pool.in_state(State.IDLE) + self.pool.in_state(State.STOPPED)

    @invariant()
    def nobody_waits_beside_an_idle_worker(self) -> None:
        if self.pool.queued:
            assert not self.slots_in(State.IDLE)
            assert not self.slots_in(State.STOPPED) or self.pool.start_delay_s(self.now) > 0

    @invariant()
    def requests_are_served_in_the_order_they_came(self) -> None:
        order = {asked: place for place, asked in enumerate(self.all)}
        places = [order[asked] for asked in self.seen_order if asked not in self.given_back]
        assert places == sorted(places)

    def teardown(self) -> None:
        for asked in self.pool.stop(self.now):
            if isinstance(asked, Refuse):
                self.end(asked.ticket)
        for slot in self.slots_in(State.BUSY):
            self.take_reply(slot)
            self.pool.finished(slot, self.now)
        assert set(self.ended) == set(self.all)
        assert all(times == 1 for times in self.ended.values())
        assert not self.slots_in(State.IDLE) + self.slots_in(State.BUSY)


TestAnyOrderOfEvents = PoolMachine.TestCase
TestAnyOrderOfEvents.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
