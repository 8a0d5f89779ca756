# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark runs: both chains start, filter what they are sent, and are measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

RUN_LIMIT_S = 240


def test_a_quick_run_measures_load_memory_requests_and_readiness_and_writes_no_file(tmp_path: Path) -> None:
    output = tmp_path / "result.md"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--sizes", "2.7k", "--output", str(output)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| 2.7k | defang " in done.stdout
    assert "| 2.7k | mimedefang " in done.stdout
    assert "Ours divided by theirs:" in done.stdout
    memory, others = done.stdout.split("## Memory")[1].split("## Requests")
    requests, readiness = others.split("## Readiness")
    assert "ms a request, target" in requests
    assert "Ours divided by theirs:" in memory
    assert "Forked divided by executed:" in readiness
    assert not output.exists()


def test_cost_of_the_check_of_clamd_is_measured_in_all_its_ways() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scanning", "--rounds", "2"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    rows = done.stdout.splitlines()[2:]
    assert len(rows) == 4, done.stderr
    assert all(row.count(" ms |") == 4 for row in rows)
    # Two rounds on a busy machine say nothing of the cost, but the status says what the table does.
    assert done.returncode == int("too much" in done.stdout)
