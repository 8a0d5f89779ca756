# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak, in short; and that it finds what it looks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak import Reading, findings, slope_of

ROOT = Path(__file__).parents[2]


def readings(*, memory_kib: float = 0, descriptors: int = 0) -> list[Reading]:
    """Forty readings, a thousand messages apart, each with so much more than the one before."""
    return [
        Reading(
            messages=1000 * number,
            memory_kib={"mux": 20_000 + memory_kib * number},
            descriptors={"mux": 30 + descriptors * number},
        )
        for number in range(40)
    ]


def test_memory_that_grows_is_found() -> None:
    assert slope_of(readings(memory_kib=125), "mux").bytes_a_message == pytest.approx(128)
    assert findings(readings(memory_kib=125)) == ["mux grows by 128 bytes a message, 3625 KiB in all"]
    assert findings(readings(memory_kib=50)) == []


def test_memory_that_goes_up_and_down_by_more_than_it_grows_is_not_found() -> None:
    sums_kib = (28_600, 22_600, 30_600, 27_100, 31_300, 24_900, 30_100, 29_800, 25_700, 31_000)
    at = [
        Reading(messages=50 * number, memory_kib={"workers": kib}, descriptors={})
        for number, kib in enumerate(sums_kib, start=1)
    ]
    assert slope_of(at, "workers").bytes_a_message > 100
    assert findings(at) == []


def test_growth_is_found_beside_noise_once_there_are_readings_enough() -> None:
    noise_kib = (0, 3000, -2000, 1000, -1500)
    at = [
        Reading(
            messages=1000 * number,
            memory_kib={"workers": 90_000 + 500 * number + noise_kib[number % 5]},
            descriptors={},
        )
        for number in range(40)
    ]
    (found,) = findings(at)
    assert found.startswith("workers grows by ")


def test_descriptors_that_stay_open_are_found() -> None:
    assert findings(readings(descriptors=1)) == ["mux has 69 descriptors open, 40 before"]
    assert findings(readings()) == []


@pytest.mark.system
def test_six_hundred_messages_with_recycling_and_rereading_leave_nothing() -> None:
    argv = [sys.executable, "-m", "benchmarks.soak", "--count", "600", "--rounds", "12"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "     600 messages" in done.stdout
    assert "left in the spool: nothing\nnothing grows, nothing is left\n" in done.stdout
