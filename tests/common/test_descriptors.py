# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the limit on open files is raised, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from defang_common.host import descriptors
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
descriptors.allow(wanted)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [((100, 500), 300, (300, 500)), ((100, 500), 900, (500, 500)), ((400, 500), 300, (400, 500))],
    ids=["raised", "as far as may be", "never lowered"],
)
def test_the_soft_limit_is_raised_to_what_is_wanted(
    before: tuple[int, int], wanted: int, after: tuple[int, int]
) -> None:
    argv = [sys.executable, "-c", PROGRAM, *map(str, (*before, wanted))]
    told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
    assert tuple(map(int, told.split())) == after
