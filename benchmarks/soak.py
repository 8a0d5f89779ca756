# SPDX-License-Identifier: GPL-3.0-or-later
"""Many messages through the chain while workers are recycled and the filter is reread: does anything grow or stay?

`python -m benchmarks.soak --count N`. Exit status 1 if a message was lost, memory grows faster than stated, or a
descriptor, directory or process is left.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from benchmarks import load, messages
from benchmarks.contestants import FILTERS
from benchmarks.processes import read_own_mib
from tests.support.daemons import MX_CTRL, Chain, Daemons, Origin, private_home, running
from tests.support.process import ProgramError, wait_until

SIZE = "2.7k"
SESSIONS = 8
# Uneven, so that recycling, reading anew and reading of memory do not keep step.
REQUESTS_PER_WORKER = 97
REREAD_EACH_ROUNDS = 3
# What caches and allocators take at first is no leak: the slope is that of the readings behind the first quarter.
WARM_UP_PART = 4
# 100 bytes a message are 10 MiB in 100,000. In a short soak a page more is much a message: growth below this many KiB
# in all is no finding.
MAX_SLOPE_BYTES = 100.0
NEGLIGIBLE_KIB = 1024.0
# Workers have more memory of their own the older they are, and at a reading some are old and some are new: that moves
# the sum by megabytes. A line through such readings says something only if its slope is many times its standard error;
# five is passed by chance once in a thousand times by ten readings, and hardly ever by thirty.
SURE_ERRORS = 5.0
# Of two there is no error.
LEAST_READINGS = 3
CHAIN = Chain(
    filter=FILTERS / "filter.py",
    mux_options=("-m", "4", "-x", "4", "-w", "1", "-q", "64", "-Q", "60", "-r", str(REQUESTS_PER_WORKER)),
    milter_options=("-q", "-s", "-t"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The state behind so many messages: KiB of memory and open descriptors by process."""

    messages: int
    memory_kib: dict[str, float]
    descriptors: dict[str, int]


@dataclass(frozen=True, slots=True)
class Slope:
    """By how many bytes a message a process grows, and the standard error of that; without end if it is unknown."""

    bytes_a_message: float
    error: float


def slope_of(readings: Sequence[Reading], process: str) -> Slope:
    """The least squares line through the readings."""
    points = [(reading.messages, reading.memory_kib[process] * 1024) for reading in readings]
    if len(points) < LEAST_READINGS:
        return Slope(0.0, float("inf"))
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    beside = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return Slope(slope, sqrt(beside / (len(points) - 2) / spread))


def findings(readings: Sequence[Reading]) -> list[str]:
    """What is wrong, by the readings behind the warm-up."""
    behind = readings[len(readings) // WARM_UP_PART :]
    found = []
    for process in behind[0].memory_kib:
        slope = slope_of(behind, process)
        grown_kib = slope.bytes_a_message * (behind[-1].messages - behind[0].messages) / 1024
        is_sure = slope.bytes_a_message > MAX_SLOPE_BYTES + SURE_ERRORS * slope.error
        if is_sure and grown_kib > NEGLIGIBLE_KIB:
            found.append(f"{process} grows by {slope.bytes_a_message:.0f} bytes a message, {grown_kib:.0f} KiB in all")
    for process, first in behind[0].descriptors.items():
        last = behind[-1].descriptors[process]
        if last > first:
            found.append(f"{process} has {last} descriptors open, {first} before")
    return found


def read(daemons: Daemons, count: int) -> Reading:
    """A reading at rest: no message in work, no worker on its way in or out."""
    assert daemons.milter
    assert daemons.mux

    def at_rest() -> bool:
        states = control(daemons, "rawstatus").split()[0]
        return not daemons.work_dirs() and set(states) == {"I"}

    wait_until(at_rest, f"no message is in work and all workers idle: {daemons.logs()[-1000:]}", 60)
    pids = {"milter": daemons.milter.pid, "mux": daemons.mux.pid}
    return Reading(
        messages=count,
        memory_kib={
            **{name: read_own_mib([pid]) * 1024 for name, pid in pids.items()},
            "workers": read_own_mib(daemons.workers()) * 1024,
        },
        descriptors={name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in pids.items()},
    )


def control(daemons: Daemons, command: str) -> str:
    """The multiplexor's answer."""
    argv = [str(MX_CTRL[Origin.OURS]), "-s", str(daemons.mux_socket), command]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


def soak(daemons: Daemons, count: int, rounds: int) -> list[Reading]:
    """Send so many messages in rounds, with a reading behind each. LoadFailed if any was lost or not filtered."""
    message = messages.named(SIZE)
    readings = []
    sent = 0
    begun = time.monotonic()
    for number in range(1, rounds + 1):
        wanted = count * number // rounds - sent
        load.run(load.Load(address=daemons.milter_address, message=message, count=wanted, sessions=SESSIONS))
        sent += wanted
        if number % REREAD_EACH_ROUNDS == 0:
            control(daemons, "reread")
        reading = read(daemons, sent)
        readings.append(reading)
        memory = "  ".join(f"{name} {kib / 1024:6.1f}" for name, kib in reading.memory_kib.items())
        print(f"{sent:>8} messages {sent / (time.monotonic() - begun):6.0f}/s  MiB: {memory}", flush=True)
    return readings


def main() -> int:
    """The command's exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="messages (50000)")
    parser.add_argument("--rounds", type=int, default=40, help="with a reading of memory behind each (40)")
    options = parser.parse_args()
    count: int = options.count
    rounds: int = options.rounds
    if os.geteuid() != 0:
        print("soak: root has to start this: the daemons run as a user of their own", file=sys.stderr)
        return 1
    if not 2 <= rounds <= count:
        print("soak: two rounds at least, and a message for each", file=sys.stderr)
        return 1
    try:
        # What is left of processes, sockets and directories in the end is an error of `running`.
        with private_home("soak-") as home, running(CHAIN, home=home) as daemons:
            read(daemons, 0)
            readings = soak(daemons, count, rounds)
            spool = sorted(path.name for path in daemons.spool.iterdir() if not path.is_socket())
            started = int(control(daemons, "rawstatus").split()[2])
    except (load.LoadFailed, ProgramError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    behind = readings[len(readings) // WARM_UP_PART :]
    for process in behind[0].memory_kib:
        slope = slope_of(behind, process)
        print(
            f"{process}: {slope.bytes_a_message:+.1f} bytes a message, give or take {slope.error:.1f}"
            f" (at most {MAX_SLOPE_BYTES:.0f})"
        )
    found = findings(readings)
    if spool:
        found.append(f"left in the spool: {' '.join(spool)}")
    print(f"{count} messages, {started} workers started; left in the spool: {spool or 'nothing'}")
    print("\n".join(found) if found else "nothing grows, nothing is left")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
