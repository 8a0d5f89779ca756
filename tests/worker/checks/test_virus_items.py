# SPDX-License-Identifier: GPL-3.0-or-later
"""What scanners are given, also where Python leaves assertions out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 60
SCRIPT = """
from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks.viruses.items import items_of
from tests.support.fake_scanners import NESTED
message = Message(commands.decode(b"S<a@b>\\nF\\n"), NESTED, "/nowhere", Settings())
print([item.part for item in items_of(message, parts=True)])
"""


@pytest.mark.parametrize("options", [[], ["-O"]])
def test_parts_that_nobody_has_asked_for_are_scanned(options: list[str]) -> None:
    argv = [sys.executable, *options, "-c", SCRIPT]
    root = Path(__file__).parents[3]
    told = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=root, timeout=LIMIT_S).stdout
    assert told == "['', '1', '2']\n"
