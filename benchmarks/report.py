# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements to tables: one row a contestant and size, and how ours compares with theirs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contestants import OURS, THEIRS
from benchmarks.processes import Cost, Memory

# What we want to reach: our CPU time for a message, divided by theirs.
TARGETS = {"2.7k": 0.3, "100k": 0.35, "5m": 0.15}
# Our memory, divided by theirs.
MEMORY_TARGET = 1.25
# The time until a forked worker serves, divided by that of one that is started as a program.
READINESS_TARGET = 0.05
# Milliseconds of the multiplexor for a request. No ratio: theirs, in C, has no interpreter's cost.
REQUEST_TARGET_MS = 0.25
_MS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All rounds of one contestant with one size; `memory` was read behind the last one."""

    contestant: str
    size: str
    latencies_s: tuple[float, ...]
    wall_s: float
    cost: Cost
    memory: Memory

    @property
    def messages(self) -> int:
        """How many were sent."""
        return len(self.latencies_s)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a message, of all processes."""
        return self.cost.total_s * _MS / self.messages

    def latency_ms(self, percent: int) -> float:
        """That many percent of the messages were answered within this time (nearest rank)."""
        ordered = sorted(self.latencies_s)
        return ordered[-(-len(ordered) * percent // 100) - 1] * _MS


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """What a contestant has when so many messages have gone to all of its workers, to the idlest one `fewest`."""

    contestant: str
    workers: int
    messages: int
    fewest: int
    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Seconds from the order of a worker to its first answer, of several workers each."""

    forked_s: tuple[float, ...]
    executed_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCost:
    """CPU seconds that a multiplexor took for each request, round by round."""

    contestant: str
    rounds_s: tuple[float, ...]


_HEAD = ("size", "programs", "messages", "msg/s", "p50 ms", "p99 ms", "CPU ms", "milter", "mux", "workers", "PSS MiB")


def _row(one: Measurement) -> tuple[str, ...]:
    each_ms = _MS / one.messages
    return (
        one.size,
        one.contestant,
        str(one.messages),
        f"{one.rate:.1f}",
        f"{one.latency_ms(50):.1f}",
        f"{one.latency_ms(99):.1f}",
        f"{one.cpu_ms:.2f}",
        f"{one.cost.milter_s * each_ms:.2f}",
        f"{one.cost.mux_s * each_ms:.2f}",
        f"{one.cost.workers_s * each_ms:.2f}",
        f"{one.memory.total_mib:.0f}",
    )


def table(measurements: Iterable[Measurement]) -> str:
    """The measurements, CPU time in milliseconds a message, in all and by process group."""
    return markdown(_HEAD, [_row(one) for one in measurements])


def ratios(measurements: Sequence[Measurement]) -> str:
    """Ours divided by theirs, size by size, for those sizes that both were measured with."""
    by_name = {(one.contestant, one.size): one for one in measurements}
    rows = []
    for size in dict.fromkeys(one.size for one in measurements):
        ours, theirs = by_name.get((OURS, size)), by_name.get((THEIRS, size))
        if ours is None or theirs is None:
            continue
        target = TARGETS.get(size)
        reached = "-" if target is None else _held(ours.cpu_ms / theirs.cpu_ms, target)
        rows.append(
            (
                size,
                f"{ours.cpu_ms / theirs.cpu_ms:.2f}",
                reached,
                f"{ours.rate / theirs.rate:.2f}",
                f"{ours.latency_ms(50) / theirs.latency_ms(50):.2f}",
                f"{ours.latency_ms(99) / theirs.latency_ms(99):.2f}",
                f"{ours.memory.total_mib / theirs.memory.total_mib:.2f}",
            )
        )
    return markdown(("size", "CPU/message", "target", "msg/s", "p50", "p99", "PSS"), rows) if rows else ""


def memory_table(readings: Sequence[MemoryReading]) -> str:
    """MiB by process group, and how ours compares with theirs if both were measured."""
    rows = [
        (
            one.contestant,
            str(one.workers),
            str(one.messages),
            str(one.fewest),
            *(f"{mib:.1f}" for mib in (one.memory.milter_mib, one.memory.mux_mib, one.memory.workers_mib)),
            f"{one.memory.total_mib:.1f}",
        )
        for one in readings
    ]
    head = ("programs", "workers", "messages", "fewest of a worker", "milter", "mux", "workers MiB", "PSS MiB")
    table = markdown(head, rows)
    total_mib = {one.contestant: one.memory.total_mib for one in readings}
    if OURS not in total_mib or THEIRS not in total_mib:
        return table
    ratio = total_mib[OURS] / total_mib[THEIRS]
    return f"{table}\n\nOurs divided by theirs: {ratio:.2f}, target {_held(ratio, MEMORY_TARGET)}"


def requests_table(costs: Sequence[RequestCost]) -> str:
    """Milliseconds a request, and whether ours keeps to its target, by the median of the rounds."""
    rows = [
        (one.contestant, *(f"{time_s * _MS:.3f}" for time_s in (min(one.rounds_s), median(one.rounds_s))))
        for one in costs
    ]
    table = markdown(("programs", "least ms", "median ms"), rows)
    for one in costs:
        if one.contestant == OURS:
            time_ms = median(one.rounds_s) * _MS
            table += f"\n\nOurs: {time_ms:.3f} ms a request, target {_held(time_ms, REQUEST_TARGET_MS)}"
    return table


def readiness_table(readiness: Readiness) -> str:
    """Milliseconds until a worker serves, and how the two ways compare."""
    rows = []
    for name, found_s in (("forked", readiness.forked_s), ("executed", readiness.executed_s)):
        times_ms = (min(found_s) * _MS, median(found_s) * _MS, max(found_s) * _MS)
        rows.append((name, str(len(found_s)), *(f"{time_ms:.1f}" for time_ms in times_ms)))
    ratio = median(readiness.forked_s) / median(readiness.executed_s)
    table = markdown(("worker", "started", "fastest ms", "median ms", "slowest ms"), rows)
    return f"{table}\n\nForked divided by executed: {ratio:.3f}, target {_held(ratio, READINESS_TARGET)}"


def _held(ratio: float, target: float) -> str:
    return f"{'reached' if ratio <= target else 'MISSED'} ({target})"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    # Words to the left, numbers to the right.
    numeric = [bool(rows) and rows[0][column][:1].isdigit() and column > 0 for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        placed = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        return "| " + " | ".join(placed) + " |"

    rule = (
        "|"
        + "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True))
        + "|"
    )
    return "\n".join([line(head), rule, *map(line, rows)])
