# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of statistics: which steps have one, what stands in it, and what happens to the file."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from defang_common.host.daemon import StartFailed
from defang_mux.pool.events import RereadForced
from defang_mux.pool.state import Kind, Moved, State
from defang_mux.statistics import Statistics, line_of

LOG = logging.getLogger("defang.mux.test")


def moved(old: str, new: str, **more: Any) -> Moved:
    return Moved(number=2, old=State[old], new=State[new], running=3, busy=1, free=0, **more)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (moved("STOPPED", "IDLE", reason="why"), 'StartWorker worker=2 nworkers=3 nbusy=1 reason="why"'),
        (moved("IDLE", "BUSY", kind=Kind.SCAN), "StartFilter worker=2 nworkers=3 nbusy=1"),
        (moved("IDLE", "BUSY", kind=Kind.OTHER), None),
        (moved("BUSY", "IDLE", kind=Kind.SCAN, requests=4), "EndFilter worker=2 nworkers=3 nbusy=1 numRequests=4"),
        (moved("BUSY", "IDLE", kind=Kind.RECIPOK, requests=4), None),
        (
            moved("IDLE", "KILLED", reason="old", requests=4, age_s=7.9),
            'KillWorker worker=2 nworkers=3 nbusy=1 req=4 age=7 reason="old"',
        ),
        (
            moved("BUSY", "KILLED", kind=Kind.OTHER, reason="late", requests=4, age_s=7),
            'KillWorker worker=2 nworkers=3 nbusy=1 req=4 age=7 reason="late"',
        ),
        (
            moved("BUSY", "KILLED", kind=Kind.SCAN, reason="late", requests=4, age_s=7),
            (
                "EndFilter worker=2 nworkers=3 nbusy=1 numRequests=4\n"
                'KillWorker worker=2 nworkers=3 nbusy=1 req=4 age=7 reason="late"'
            ),
        ),
        (
            moved("BUSY", "KILLED", kind=Kind.SCAN, reason="Died", requests=4, unexpected=True),
            "EndFilter worker=2 nworkers=3 nbusy=1 numRequests=4",
        ),
        (moved("BUSY", "KILLED", kind=Kind.OTHER, reason="Died", unexpected=True), None),
        (moved("KILLED", "STOPPED"), "ReapWorker worker=2 nworkers=3 nbusy=1"),
        (moved("IDLE", "STOPPED", unexpected=True), "ReapWorker worker=2 nworkers=3 nbusy=1"),
    ],
)
def test_a_step_has_its_line(event: Moved, line: str | None) -> None:
    assert line_of(event) == line


def test_a_line_of_the_file_begins_with_day_and_time(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = spool / "stats"
    statistics = Statistics(path, to_log=True, flush=True, log=LOG)
    with caplog.at_level(logging.INFO):
        statistics.note(RereadForced())
        statistics.note(moved("KILLED", "STOPPED"))
    head = r"\d\d/\d\d/\d{4}:\d\d:\d\d:\d\d "
    line = r"\d{10}\.\d{3} ReapWorker worker=2 nworkers=3 nbusy=1"
    assert re.fullmatch(f"{head}{line}\n", path.read_text())
    assert re.fullmatch(f"stats {line}", caplog.messages[0])
    statistics.close()


def test_lines_are_collected_unless_each_is_to_be_written_at_once(spool: Path) -> None:
    path = spool / "stats"
    statistics = Statistics(path, to_log=False, flush=False, log=LOG)
    statistics.note(moved("KILLED", "STOPPED"))
    assert path.read_text() == ""
    statistics.close()
    assert path.read_text().count("\n") == 1


def test_a_file_that_was_moved_away_is_begun_anew_when_it_is_reopened(spool: Path) -> None:
    path = spool / "stats"
    statistics = Statistics(path, to_log=False, flush=False, log=LOG)
    statistics.note(moved("KILLED", "STOPPED"))
    path.rename(spool / "stats.1")
    statistics.reopen()
    statistics.note(moved("IDLE", "BUSY", kind=Kind.SCAN))
    statistics.close()
    assert "ReapWorker" in (spool / "stats.1").read_text()
    assert "StartFilter" in path.read_text()


def test_a_file_that_cannot_be_opened_fails_the_start(spool: Path) -> None:
    with pytest.raises(StartFailed, match="statistics file"):
        Statistics(spool / "missing" / "stats", to_log=False, flush=False, log=LOG)


def test_a_full_disk_is_logged_once_and_hinders_nothing(caplog: pytest.LogCaptureFixture) -> None:
    statistics = Statistics(Path("/dev/full"), to_log=False, flush=True, log=LOG)
    for _ in range(3):
        statistics.note(moved("KILLED", "STOPPED"))
    statistics.close()
    assert caplog.messages == ["statistics file /dev/full: No space left on device"]


def test_a_file_that_cannot_be_reopened_is_logged(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = spool / "home"
    home.mkdir()
    statistics = Statistics(home / "stats", to_log=False, flush=True, log=LOG)
    home.rename(spool / "elsewhere")
    statistics.reopen()
    statistics.note(moved("KILLED", "STOPPED"))
    assert len(caplog.messages) == 1
