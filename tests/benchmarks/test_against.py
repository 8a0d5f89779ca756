# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of two trees that were measured in turn."""

from __future__ import annotations

from benchmarks.against import Pair, table
from benchmarks.processes import Cost


def cost(milter_ms: float) -> Cost:
    return Cost(milter_s=milter_ms / 1000, mux_s=0.0, workers_s=0.001)


def rows(pairs: list[Pair]) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table("5m", pairs).splitlines()[2:]]
    return {line[1]: line for line in lines}


def test_differences_are_those_of_rounds_that_belong_together() -> None:
    # The machine was busy in the second round, and both took longer.
    told = rows([Pair(cost(2.0), cost(1.0)), Pair(cost(6.0), cost(5.0))])
    assert told["milter"] == ["5m", "milter", "4.000", "3.000", "-1.000 ± 0.000", "-25.0%"]
    assert told["all"] == ["5m", "all", "5.000", "4.000", "-1.000 ± 0.000", "-20.0%"]
    assert told["mux"][2:] == ["0.000", "0.000", "+0.000 ± 0.000", "-"]


def test_the_error_tells_how_far_the_rounds_agree() -> None:
    assert rows([Pair(cost(2.0), cost(3.0)), Pair(cost(2.0), cost(1.0))])["milter"][4] == "+0.000 ± 1.000"
