# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden cases: each folder of tests/cases holds a working directory before the scan, and what is in it afterwards.

Before: INPUTMSG, COMMANDS, RESULTS.before for lines of earlier checks, and filter.py, without which the
suggested-minimum filter scans. After: RESULTS, NEWBODY, ANSWER where that is not `ok`, and EFFECTS: what was wanted
done outside of it. `make cases UPDATE=1` writes what comes out into the folders, for review as a diff.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from defang_common.wire import answers
from defang_worker.api import filter_file
from defang_worker.effects.recorded import RecordedEffects
from defang_worker.mime import canonical_rebuild, rebuild
from tests.worker.conftest import make_worker

ROOT = Path(__file__).parents[2]
CASES = sorted(path for path in (ROOT / "tests" / "cases").iterdir() if path.is_dir())
SUGGESTED_MINIMUM = ROOT / "docs" / "filters" / "suggested_minimum.py"
BEFORE = ("COMMANDS", "INPUTMSG")
AFTER = ("ANSWER", "RESULTS", "NEWBODY", "EFFECTS")
# What is another each time, and what takes its place in EFFECTS.
CHANGING = (
    (
        rb"(?m)^(Date:|Message-ID:|\tfor <[^>]+>;\n\t|  ?\"time\":|X-Defang-Resent: 1 copy).*(\n [0-9a-f]{64})?",
        rb"\1 ...",
    ),
    (rb"(?m)^(\twith ESMTP.*;\n\t).*", rb"\1..."),
    (rb"\d{4}-\d\d-\d\d-\d\d(\.\d\d\.\d\d)?", b"TIME"),
    (re.escape(socket.gethostname().encode()), b"HOST"),
)


def scan(case: Path, directory: Path) -> dict[str, bytes]:
    """The files that a scan of the case leaves, by name; ANSWER only if it is an unusual one."""
    for name in BEFORE:
        if (case / name).exists():
            shutil.copy(case / name, directory)
    if (case / "RESULTS.before").exists():
        shutil.copy(case / "RESULTS.before", directory / "RESULTS")
    own = case / "filter.py"
    effects = RecordedEffects()
    site = filter_file.load(str(own if own.exists() else SUGGESTED_MINIMUM), effects)
    answer = make_worker(site).answer(b"scan Q1 %s" % os.fsencode(directory))
    left = {name: (directory / name).read_bytes() for name in ("RESULTS", "NEWBODY") if (directory / name).exists()}
    if answer != answers.SCAN_OK:
        left["ANSWER"] = answer.replace(os.fsencode(directory), b"DIR").replace(os.fsencode(case), b"CASE")
    if shown := show(effects, directory):
        left["EFFECTS"] = shown
    return left


def show(effects: RecordedEffects, directory: Path) -> bytes:
    """What was recorded, to be read by people; the same each time."""
    pieces: list[bytes] = []
    for entry in effects.quarantined:
        pieces += (b"== quarantine %s\n%s" % (name.encode(), content) for name, content in entry.files.items())
        pieces += (b"== quarantine %s as %s\n" % (name.encode(), path.encode()) for name, path in entry.same_as.items())
    for letter in effects.letters:
        words = [f"== {letter.kind.value} from <{letter.sender}> to", *letter.recipients, *letter.mail_args]
        pieces.append(" ".join(words).encode("utf-8", "surrogateescape") + b"\n" + b"".join(map(bytes, letter.content)))
    pieces += (
        b"== file %s\n%s\n" % (f"{file.directory}/{file.name}".encode(), file.content) for file in effects.published
    )
    pieces += (b"== line for %s\n%s\n" % (target.encode(), line.encode()) for target, line in effects.lines)
    shown = b"".join(pieces).replace(os.fsencode(directory), b"DIR")
    for pattern, stand_in in CHANGING:
        shown = re.sub(pattern, stand_in, shown)
    return shown


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
