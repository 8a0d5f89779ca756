# SPDX-License-Identifier: GPL-3.0-or-later
"""What processes cost, from /proc: CPU seconds of a process, its children living and reaped, and memory (PSS)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import descendants

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU seconds of the three process groups of a filter, or the difference of two such readings."""

    milter_s: float
    mux_s: float
    workers_s: float

    @property
    def total_s(self) -> float:
        """All three groups together."""
        return self.milter_s + self.mux_s + self.workers_s

    def of_each(self, count: int) -> Cost:
        """The share of each of so many messages."""
        return Cost(milter_s=self.milter_s / count, mux_s=self.mux_s / count, workers_s=self.workers_s / count)

    def __sub__(self, earlier: Cost) -> Cost:
        return Cost(
            milter_s=self.milter_s - earlier.milter_s,
            mux_s=self.mux_s - earlier.mux_s,
            workers_s=self.workers_s - earlier.workers_s,
        )

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            milter_s=self.milter_s + other.milter_s,
            mux_s=self.mux_s + other.mux_s,
            workers_s=self.workers_s + other.workers_s,
        )


NOTHING = Cost(milter_s=0.0, mux_s=0.0, workers_s=0.0)


def read_cost(*, milter: int, mux: int) -> Cost:
    """CPU seconds since the start. Workers are what the multiplexor started, those it has reaped included."""
    mux_own_s, reaped_s = _cpu_s(mux)
    alive_s = sum(sum(_cpu_s(pid)) for pid in descendants(mux))
    return Cost(milter_s=sum(_cpu_s(milter)), mux_s=mux_own_s, workers_s=alive_s + reaped_s)


def read_own_cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process, without its children; by the scheduler's clock, which has no ticks."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """MiB of the three process groups of a filter, pages that are shared divided among those that share them (PSS)."""

    milter_mib: float
    mux_mib: float
    workers_mib: float

    @property
    def total_mib(self) -> float:
        """All three groups together."""
        return self.milter_mib + self.mux_mib + self.workers_mib


def read_memory(*, milter: int, mux: int) -> Memory:
    """Memory now. Workers are all that the multiplexor has started, for whatever end."""
    return Memory(
        milter_mib=read_pss_mib([milter, *descendants(milter)]),
        mux_mib=read_pss_mib([mux]),
        workers_mib=read_pss_mib(descendants(mux)),
    )


def read_pss_mib(pids: Iterable[int]) -> float:
    """Memory of these processes, shared pages divided among those that share them."""
    return _sum_mib(pids, "Pss:")


def read_own_mib(pids: Iterable[int]) -> float:
    """The part of it that is no file's: of files' pages more falls to each when a stranger ends that has them too."""
    return _sum_mib(pids, "Pss_Anon:")


def _sum_mib(pids: Iterable[int], word: str) -> float:
    total_kib = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(word):
                    total_kib += int(line.split()[1])
    return total_kib / 1024


def _cpu_s(pid: int) -> tuple[float, float]:
    """User and system time of a process itself, and of its children that it has waited for; nothing if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0, 0.0
    # Fields 14 to 17 of proc(5), counted behind the command's name, which may hold anything.
    own_user, own_system, child_user, child_system = map(int, stat.rpartition(")")[2].split()[11:15])
    return (own_user + own_system) / _TICKS_PER_S, (child_user + child_system) / _TICKS_PER_S
