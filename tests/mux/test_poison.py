# SPDX-License-Identifier: GPL-3.0-or-later
"""When a message is condemned, and when something else is to blame."""

from __future__ import annotations

import signal

import pytest

from defang_mux.pool import poison
from defang_mux.pool.poison import Content, PoisonMemory, is_order

A, B = Content(100, "a"), Content(100, "b")
DAY_S = 86_400


def after_deaths(*contents: Content, at: float = 0, scanned: int = 0) -> PoisonMemory:
    memory = PoisonMemory()
    for content in contents:
        memory.died(content, "ended by signal 11", now=at, scanned=scanned)
    return memory


def test_one_death_condemns_nobody() -> None:
    assert after_deaths(A).condemned(A, now=1, scanned=9) is None


def test_second_death_of_the_same_content_condemns_it_alone() -> None:
    memory = after_deaths(A, B, A)
    suspect = memory.condemned(A, now=1, scanned=9)
    assert suspect is not None
    assert (suspect.deaths, suspect.cause) == (2, "ended by signal 11")
    assert memory.condemned(B, now=1, scanned=9) is None


def test_nobody_is_condemned_while_no_other_scan_goes_well() -> None:
    memory = after_deaths(A, A, scanned=7)
    assert memory.condemned(A, now=1, scanned=7) is None
    assert memory.condemned(A, now=1, scanned=8) is not None


def test_many_messages_at_once_are_the_filters_fault_until_that_is_past() -> None:
    others = [Content(1, str(number)) for number in range(3)]
    memory = after_deaths(A, A, *others, at=50)
    assert memory.blames_filter(51)
    assert memory.condemned(A, now=51, scanned=9) is None
    later = 51 + poison._BLAME_WINDOW_S
    assert not memory.blames_filter(later)
    assert memory.condemned(A, now=later, scanned=9) is not None


def test_deaths_of_one_message_however_many_are_not_the_filters_fault() -> None:
    assert not after_deaths(*[A] * 50).blames_filter(1)


def test_only_a_size_that_was_seen_makes_it_worth_reading_a_message() -> None:
    memory = after_deaths(A)
    assert memory.may_know(100, 1)
    assert not memory.may_know(101, 1)


def test_memory_ends_after_the_days_that_mail_servers_try() -> None:
    memory = after_deaths(A, A)
    assert memory.may_know(100, 5 * DAY_S)
    assert not memory.may_know(100, 6 * DAY_S)
    assert not memory


def test_memory_is_bounded_and_keeps_the_latest() -> None:
    memory = after_deaths(*[Content(1, str(number)) for number in range(poison._MOST_KEPT + 1)])
    assert len(memory) == poison._MOST_KEPT
    memory.died(Content(1, "1"), "again", now=1, scanned=0)
    memory.died(Content(1, "new"), "first", now=1, scanned=0)
    assert memory.condemned(Content(1, "2"), now=DAY_S, scanned=9) is None
    assert memory.condemned(Content(1, "1"), now=DAY_S, scanned=9) is not None


def test_everything_is_forgotten_with_a_new_filter() -> None:
    memory = after_deaths(A, A)
    memory.forget()
    assert not memory
    assert memory.condemned(A, now=1, scanned=9) is None


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGKILL, True), (signal.SIGTERM, True), (signal.SIGSEGV, False), (signal.SIGXCPU, False), (None, False)],
)
def test_processes_ended_from_outside_condemn_nobody(number: int | None, *, expected: bool) -> None:
    assert is_order(number) is expected
