# SPDX-License-Identifier: GPL-3.0-or-later
"""The circuit and the budget: pure, so tried with any course of events."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.checks.budget import Budget, Deadline
from defang_worker.checks.circuit import Circuit

STEPS = st.lists(
    st.tuples(st.floats(0, 100), st.sampled_from(["try", "worked", "fault", "down"])), min_size=1, max_size=60
)


def _opened(now: float = 0.0) -> Circuit:
    circuit = Circuit("clamd")
    circuit.failed("refused", now, is_down=True)
    return circuit


def test_service_that_works_is_always_asked() -> None:
    circuit = Circuit("clamd")
    assert all(circuit.may_try(now) for now in (0.0, 0.0, 1.0))
    assert circuit.take_news() == []


def test_service_that_is_down_is_told_of_once_and_not_asked() -> None:
    circuit = _opened()
    assert not circuit.may_try(0.5)
    assert circuit.is_resting(0.5)
    assert circuit.take_news() == ["clamd: is down, and tried again from time to time: refused"]
    circuit.failed("refused", 1.0, is_down=True)
    assert circuit.take_news() == []


def test_one_fault_of_a_service_that_can_be_reached_may_be_the_messages() -> None:
    circuit = Circuit("clamd")
    circuit.failed("slow", 0.0, is_down=False)
    circuit.failed("slow", 0.0, is_down=False)
    assert circuit.may_try(0.0)
    circuit.failed("slow", 0.0, is_down=False)
    assert not circuit.may_try(0.0)


def test_an_answer_in_between_makes_the_count_begin_anew() -> None:
    circuit = Circuit("clamd")
    for _ in range(5):
        circuit.failed("slow", 0.0, is_down=False)
        circuit.worked()
    assert circuit.may_try(0.0)
    assert circuit.take_news() == []


def test_circuit_that_a_late_answer_closes_meanwhile_is_not_resting_or_still_is() -> None:
    """The late thread may come between any two steps of the worker's own."""
    moments: list[float | None] = [60.0, None]

    class _Closing(Circuit):
        __slots__ = ()
        # Each look at it finds what came of the thread meanwhile.
        _open_until = property(lambda _: moments.pop(0), lambda *_: None)

    assert _Closing("clamd").is_resting(0.5)


def test_after_the_pause_one_message_tries_and_others_do_not() -> None:
    circuit = _opened()
    assert circuit.may_try(1.0)
    assert not circuit.may_try(1.0)
    circuit.worked()
    assert circuit.may_try(1.0)
    assert circuit.take_news()[-1] == "clamd: answers again"


def test_pauses_grow_to_a_minute() -> None:
    circuit, now, pauses = _opened(), 0.0, []
    for _ in range(9):
        began = now
        while not circuit.may_try(now):
            now += 0.5
        pauses.append(now - began)
        circuit.failed("refused", now, is_down=True)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(STEPS)
def test_whatever_happens_news_alternate_and_a_minute_is_the_longest_silence(steps: list[tuple[float, str]]) -> None:
    circuit, now, news = Circuit("x"), 0.0, []
    for passed, event in steps:
        now += passed
        match event:
            case "try":
                assert circuit.may_try(now) or circuit.is_open
            case "worked":
                circuit.worked()
                assert circuit.may_try(now)
            case _:
                circuit.failed("why", now, is_down=event == "down")
        news += circuit.take_news()
        assert circuit.is_resting(now) <= circuit.is_open
        assert not circuit.is_resting(now + 60.0)
    kinds = ["answers again" in one for one in news]
    assert kinds == [bool(number % 2) for number in range(len(kinds))]


@given(st.floats(0.1, 100), st.floats(-1000, 1000), st.floats(0.1, 100), st.floats(0, 1e6))
def test_no_deadline_is_beyond_the_budget(total_s: float, elapsed_s: float, timeout_s: float, now: float) -> None:
    budget = Budget.of(total_s, now=now, elapsed_s=elapsed_s)
    assert budget.ends_at <= now + total_s
    assert budget.deadline(timeout_s, now).at <= min(budget.ends_at, now + timeout_s)
    assert budget.is_spent(now + total_s)


def test_time_gone_already_shortens_the_budget() -> None:
    assert Budget.of(60, now=1000, elapsed_s=15).ends_at == 1045


@pytest.mark.parametrize("elapsed_s", [60.0, 61.0, 600.0])
def test_budget_that_is_gone_does_not_begin_anew(elapsed_s: float) -> None:
    assert Budget.of(60, now=1000, elapsed_s=elapsed_s).is_spent(1000)


@pytest.mark.parametrize("elapsed_s", [-3600.0, 3600.0])
def test_clock_that_was_set_takes_nothing_of_the_budget(elapsed_s: float) -> None:
    assert Budget.of(60, now=1000, elapsed_s=elapsed_s).ends_at == 1060


def test_deadline_that_has_passed_raises() -> None:
    with pytest.raises(TimeoutError):
        Deadline(time.monotonic() - 1).left_s()


def test_deadline_leaves_no_more_than_a_step_may_take() -> None:
    deadline = Deadline.after(1000)
    assert deadline.left_s(5) == 5
    assert 5 < deadline.left_s() <= 1000
    assert deadline.sooner(1).at < deadline.at == deadline.sooner(5000).at
