# SPDX-License-Identifier: GPL-3.0-or-later
"""What is given up, and what is told of it. In processes of their own: nothing of it can be taken back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from defang_mux.process.protections import Protection, report

PROBE = """
import json, resource, sys
from defang_common.wire.confinement import NOT_CONFINED
from defang_mux.process.protections import give_up
from defang_mux.process.rlimits import WorkerLimits
found = give_up(no_new_privileges=sys.argv[1] == "True", limits=WorkerLimits(open_files=64), asked=NOT_CONFINED)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "told": {one.name: one.state for one in found}, "core": resource.getrlimit(resource.RLIMIT_CORE),
    "flag": status["NoNewPrivs"].strip(), "missing": [one.name for one in found if one.is_missing],
}))
"""


@pytest.mark.parametrize("wanted", [False, True])
def test_what_is_told_is_what_the_system_says(wanted: bool) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, str(wanted)], capture_output=True, check=True, timeout=15)
    found = json.loads(done.stdout)
    assert found["core"] == [0, 0]
    assert found["told"]["core-dumps"] == "none"
    assert found["told"]["new-privileges"] == ("none" if found["flag"] == "1" else "allowed")
    assert not wanted or found["flag"] == "1"
    assert found["told"]["open-files"] == "at most 64"
    assert found["told"]["memory-bytes"] == "no limit"
    assert found["missing"] == []


def test_report_has_a_line_for_each() -> None:
    assert report((Protection("a", "none"), Protection("b", "no limit"))) == b"a none\nb no limit\n"
