# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden cases: each folder of tests/cases holds a working directory before the scan, and what is in it afterwards.

Before: INPUTMSG, COMMANDS, RESULTS.before for lines of earlier checks, and filter.py, without which the
suggested-minimum filter scans. After: RESULTS, NEWBODY, and ANSWER where that is not `ok`. `make cases UPDATE=1` writes
what comes out into the folders, for review as a diff.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from defang_common.wire import answers
from defang_worker.api import filter_file
from defang_worker.mime import canonical_rebuild, rebuild
from tests.worker.conftest import make_worker

ROOT = Path(__file__).parents[2]
CASES = sorted(path for path in (ROOT / "tests" / "cases").iterdir() if path.is_dir())
SUGGESTED_MINIMUM = ROOT / "docs" / "filters" / "suggested_minimum.py"
BEFORE = ("COMMANDS", "INPUTMSG")
AFTER = ("ANSWER", "RESULTS", "NEWBODY")


def scan(case: Path, directory: Path) -> dict[str, bytes]:
    """The files that a scan of the case leaves, by name; ANSWER only if it is an unusual one."""
    for name in BEFORE:
        if (case / name).exists():
            shutil.copy(case / name, directory)
    if (case / "RESULTS.before").exists():
        shutil.copy(case / "RESULTS.before", directory / "RESULTS")
    own = case / "filter.py"
    site = filter_file.load(str(own if own.exists() else SUGGESTED_MINIMUM))
    answer = make_worker(site).answer(b"scan Q1 %s" % os.fsencode(directory))
    left = {name: (directory / name).read_bytes() for name in ("RESULTS", "NEWBODY") if (directory / name).exists()}
    if answer != answers.SCAN_OK:
        left["ANSWER"] = answer.replace(os.fsencode(directory), b"DIR").replace(os.fsencode(case), b"CASE")
    return left


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scan_leaves_what_the_case_says(case: Path, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_new_boundary", lambda: b"=_boundary")
    monkeypatch.setattr(canonical_rebuild, "_new_boundary", lambda: b"boundary" * 5)
    left = scan(case, spool)
    if os.environ.get("UPDATE") == "1":
        for name in AFTER:
            (case / name).unlink(missing_ok=True)
            if name in left:
                (case / name).write_bytes(left[name])
    assert left == {name: (case / name).read_bytes() for name in AFTER if (case / name).exists()}


def test_every_case_has_its_number_once() -> None:
    numbers = [case.name.partition("-")[0] for case in CASES]
    assert numbers == [f"{number:03d}" for number in range(1, len(CASES) + 1)]
