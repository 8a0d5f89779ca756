# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of what a worker writes is logged, and what is said of the rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from defang_mux.process.metered import Meter


def of(meter: Meter, count: int, *, at: float, first: int = 0) -> None:
    for number in range(first, first + count):
        meter.take(str(number), at)


def test_a_thousand_lines_at_once_are_logged_and_then_two_hundred_a_second() -> None:
    said: list[str] = []
    meter = Meter(said.append)
    of(meter, 5000, at=10.0)
    assert said == [str(number) for number in range(1000)]
    of(meter, 500, at=11.0)
    assert said[1000] == "(4000 lines left out: it writes too many)"
    assert said[1001:] == [str(number) for number in range(200)]


def test_what_was_left_out_is_told_at_the_end_with_its_last_lines() -> None:
    said: list[str] = []
    meter = Meter(said.append)
    of(meter, 1200, at=10.0)
    meter.settle()
    assert said[1000:] == ["(150 lines left out: it writes too many)", *map(str, range(1150, 1200))]
    meter.settle()
    assert len(said) == 1051


def test_a_few_too_many_are_logged_late() -> None:
    said: list[str] = []
    meter = Meter(said.append)
    of(meter, 1003, at=10.0)
    meter.settle()
    assert said == [str(number) for number in range(1003)]


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 1500)), max_size=8))
def test_every_line_is_logged_or_counted(bursts: list[tuple[float, int]]) -> None:
    said: list[str] = []
    meter, now, total = Meter(said.append), 0.0, 0
    for pause_s, count in bursts:
        now += pause_s
        of(meter, count, at=now, first=total)
        total += count
    assert sum(not line.startswith("(") for line in said) <= 1000 + 200 * now + 1
    meter.settle()
    left_out = sum(int(line[1:].split()[0]) for line in said if line.startswith("("))
    assert left_out + sum(not line.startswith("(") for line in said) == total
