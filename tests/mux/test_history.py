# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of seconds and hours: windows, rings that wrap, and hours that follow the clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_mux.pool.history import History
from defang_mux.pool.state import Kind


@pytest.mark.parametrize(("age_s", "seconds", "counted"), [(0, 10, 1), (9, 10, 1), (10, 10, 0), (599, 600, 1)])
def test_window_is_the_current_second_and_those_before_it(age_s: int, seconds: int, counted: int) -> None:
    history = History(0)
    history.finished(Kind.SCAN, now=1000.5, busy=2, seconds=0.25)
    sums = history.recent(Kind.SCAN, now=1000.5 + age_s, seconds=seconds)
    assert sums.count == counted
    assert sums.mean_busy == 2 * counted
    assert sums.mean_ms == 250 * counted


def test_kinds_that_are_not_counted_leave_no_trace() -> None:
    history = History(0)
    history.finished(Kind.OTHER, now=5, busy=1, seconds=1)
    assert all(history.recent(kind, now=5, seconds=600).count == 0 for kind in Kind if kind is not Kind.OTHER)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 9), st.floats(0, 5)), max_size=40),
    st.sampled_from([10, 60, 300, 600]),
)
def test_windows_are_what_a_plain_list_says(events: list[tuple[float, int, float]], seconds: int) -> None:
    history, log, now = History(0), [], 50.0
    for gap, busy, took in events:
        now += gap
        history.finished(Kind.SCAN, now=now, busy=busy, seconds=took)
        log.append((int(now), busy, took))
    wanted = [(busy, took) for at, busy, took in log if at > int(now) - seconds]
    sums = history.recent(Kind.SCAN, now=now, seconds=seconds)
    assert sums.count == len(wanted)
    assert sums.busy == sum(busy for busy, _ in wanted)
    assert sums.seconds == pytest.approx(sum(took for _, took in wanted))


def test_hours_begin_when_the_clock_says_so() -> None:
    history = History(epoch_offset_s=1800)
    history.finished(Kind.SCAN, now=1790, busy=1, seconds=0)
    history.finished(Kind.SCAN, now=1800, busy=3, seconds=0)
    history.finished(Kind.SCAN, now=1900, busy=3, seconds=0)
    sums, covered = history.hourly(Kind.SCAN, now=1900, hours=1)
    assert (sums.count, sums.mean_busy, covered) == (2, 3, 100)
    sums, covered = history.hourly(Kind.SCAN, now=1900, hours=4)
    assert (sums.count, covered) == (3, 110)


def test_a_day_old_hour_is_forgotten() -> None:
    history = History(0)
    history.finished(Kind.SCAN, now=10, busy=1, seconds=0)
    assert history.hourly(Kind.SCAN, now=23.9 * 3600, hours=24)[0].count == 1
    assert history.hourly(Kind.SCAN, now=24.1 * 3600, hours=24) == (history.recent(Kind.SCAN, now=1e6, seconds=1), 0)


def test_starts_and_ends_are_counted_apart() -> None:
    history = History(0)
    history.activated(100)
    history.activated(101)
    history.reaped(101)
    assert history.recent_activations(now=105, seconds=10) == 2
    assert history.recent_reaps(now=105, seconds=10) == 1
    assert history.recent_activations(now=110.9, seconds=10) == 1
