# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's figures: what they are computed from, and what is said of the targets."""

from __future__ import annotations

import pytest

from benchmarks import messages, report
from benchmarks.contestants import OURS, THEIRS
from benchmarks.processes import Cost, Memory
from tests.system.interop.told import leaves


def measured(name: str, *, cpu_ms: float, size: str = "2.7k", messages: int = 100) -> report.Measurement:
    total_s = cpu_ms * messages / 1000
    return report.Measurement(
        contestant=name,
        size=size,
        latencies_s=tuple(number / 1000 for number in range(messages)),
        wall_s=2.0,
        cost=Cost(milter_s=total_s / 2, mux_s=total_s / 4, workers_s=total_s / 4),
        memory=Memory(milter_mib=10.0, mux_mib=8.0, workers_mib=22.0),
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_cpu_time_is_told_by_message_and_by_process_group() -> None:
    head, _, row = report.table([measured(OURS, cpu_ms=4.0)]).splitlines()
    told = dict(zip(cells(head), cells(row), strict=True))
    assert (told["CPU ms"], told["milter"], told["mux"], told["workers"]) == ("4.00", "2.00", "1.00", "1.00")
    assert (told["messages"], told["msg/s"], told["PSS MiB"]) == ("100", "50.0", "40")


def test_a_percentile_is_the_time_within_which_so_many_were_answered() -> None:
    one = measured(OURS, cpu_ms=1.0)
    assert one.latency_ms(50) == pytest.approx(49.0)
    assert one.latency_ms(99) == pytest.approx(98.0)
    assert one.latency_ms(100) == pytest.approx(99.0)


@pytest.mark.parametrize(("ours_ms", "word"), [(1.4, "reached (0.3)"), (1.6, "MISSED (0.3)")])
def test_a_ratio_is_held_against_its_target(ours_ms: float, word: str) -> None:
    lines = report.ratios([measured(OURS, cpu_ms=ours_ms), measured(THEIRS, cpu_ms=5.0)]).splitlines()
    assert cells(lines[2])[:3] == ["2.7k", f"{ours_ms / 5:.2f}", word]


def test_there_is_no_ratio_without_both() -> None:
    assert report.ratios([measured(OURS, cpu_ms=1.0), measured(THEIRS, cpu_ms=1.0, size="5m")]) == ""


def reading(name: str, workers_mib: float) -> report.MemoryReading:
    memory = Memory(milter_mib=10.0, mux_mib=20.0, workers_mib=workers_mib)
    return report.MemoryReading(contestant=name, workers=10, messages=400, fewest=31, memory=memory)


@pytest.mark.parametrize(("ours_mib", "said"), [(70.0, "1.25, target reached (1.25)"), (72.0, "1.27, target MISSED")])
def test_memory_of_all_process_groups_is_held_against_its_target(ours_mib: float, said: str) -> None:
    head, _, row, *others = report.memory_table([reading(OURS, ours_mib), reading(THEIRS, 50.0)]).splitlines()
    told = dict(zip(cells(head), cells(row), strict=True))
    assert (told["milter"], told["mux"], told["workers MiB"]) == ("10.0", "20.0", f"{ours_mib:.1f}")
    assert told["PSS MiB"] == f"{30 + ours_mib:.1f}"
    assert said in others[-1]


def test_memory_of_one_alone_has_no_ratio() -> None:
    assert "divided" not in report.memory_table([reading(OURS, 50.0)])


@pytest.mark.parametrize(("forked_s", "said"), [(0.010, "0.050, target reached"), (0.012, "0.060, target MISSED")])
def test_readiness_is_compared_by_the_median(forked_s: float, said: str) -> None:
    readiness = report.Readiness(forked_s=(0.001, forked_s, 0.9), executed_s=(0.1, 0.2, 2.0))
    assert said in report.readiness_table(readiness)


@pytest.mark.parametrize(
    ("ours_s", "said"), [(0.00025, "0.250 ms a request, target reached (0.25)"), (0.0003, "MISSED")]
)
def test_the_multiplexor_is_held_against_its_target_by_the_median_round(ours_s: float, said: str) -> None:
    costs = [
        report.RequestCost(contestant=OURS, rounds_s=(0.9, ours_s, 0.0001)),
        report.RequestCost(contestant=THEIRS, rounds_s=(0.00002,)),
    ]
    lines = report.requests_table(costs).splitlines()
    assert cells(lines[2]) == [OURS, "0.100", f"{ours_s * 1000:.3f}"]
    assert cells(lines[3]) == [THEIRS, "0.020", "0.020"]
    assert said in lines[-1]


@pytest.mark.parametrize("word", messages.SIZES)
def test_the_letter_has_four_parts_and_the_size_that_its_name_says(word: str) -> None:
    letter = messages.named(word)
    assert abs(len(letter.as_bytes()) - messages.SIZES[word]) < 80
    types = [leaf.types[-1] for leaf in leaves(letter.as_bytes())]
    assert types == ["text/plain", "text/html", "image/png", "application/pdf"]
