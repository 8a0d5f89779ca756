# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements to tables: one row a contestant and size, and how ours compares with theirs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.contestants import OURS, THEIRS
from benchmarks.processes import Cost

# What we want to reach: our CPU time for a message, divided by theirs.
TARGETS = {"2.7k": 0.35, "100k": 0.35, "5m": 0.15}
_MS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All rounds of one contestant with one size; `pss_mib` was read behind the last one."""

    contestant: str
    size: str
    latencies_s: tuple[float, ...]
    wall_s: float
    cost: Cost
    pss_mib: float

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
        f"{one.pss_mib:.0f}",
    )


def table(measurements: Iterable[Measurement]) -> str:
    """The measurements, CPU time in milliseconds a message, in all and by process group."""
    return _markdown(_HEAD, [_row(one) for one in measurements])


def ratios(measurements: Sequence[Measurement]) -> str:
    """Ours divided by theirs, size by size, for those sizes that both were measured with."""
    by_name = {(one.contestant, one.size): one for one in measurements}
    rows = []
    for size in dict.fromkeys(one.size for one in measurements):
        ours, theirs = by_name.get((OURS, size)), by_name.get((THEIRS, size))
        if ours is None or theirs is None:
            continue
        target = TARGETS.get(size)
        reached = (
            "-" if target is None else f"{'reached' if ours.cpu_ms <= target * theirs.cpu_ms else 'MISSED'} ({target})"
        )
        rows.append(
            (
                size,
                f"{ours.cpu_ms / theirs.cpu_ms:.2f}",
                reached,
                f"{ours.rate / theirs.rate:.2f}",
                f"{ours.latency_ms(50) / theirs.latency_ms(50):.2f}",
                f"{ours.latency_ms(99) / theirs.latency_ms(99):.2f}",
                f"{ours.pss_mib / theirs.pss_mib:.2f}",
            )
        )
    return _markdown(("size", "CPU/message", "target", "msg/s", "p50", "p99", "PSS"), rows) if rows else ""


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
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
