# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak, in short; and that it finds what it looks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak import Reading, findings, slope_bytes

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
    assert slope_bytes(readings(memory_kib=125), "mux") == pytest.approx(128)
    assert findings(readings(memory_kib=125)) == ["mux grows by 128 bytes a message, 3625 KiB in all"]
    assert findings(readings(memory_kib=50)) == []


def test_descriptors_that_stay_open_are_found() -> None:
    assert findings(readings(descriptors=1)) == ["mux has 69 descriptors open, 40 before"]
    assert findings(readings()) == []


@pytest.mark.system
def test_six_hundred_messages_with_recycling_and_rereading_leave_nothing() -> None:
    argv = [sys.executable, "-m", "benchmarks.soak", "--count", "600", "--rounds", "4"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "     600 messages" in done.stdout
    assert "left in the spool: nothing\nnothing grows, nothing is left\n" in done.stdout
