# SPDX-License-Identifier: GPL-3.0-or-later
"""mypy on a filter, where it is installed and asked for: our classes are annotated, so it finds more than we do."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from typing import Final

from defang_worker.checking.findings import Finding, Kind

_LINE: Final = re.compile(r"(?P<file>.+?):(?P<line>\d+): error: (?P<text>.*)")
# It reads the whole filter API, on a busy machine for the first time.
_LIMIT_S: Final = 300.0


class ToolMissing(Exception):
    """mypy is not there, or did not come to an end; the text says which."""


def check_types(file: str) -> list[Finding]:
    """mypy's errors for the file; raises ToolMissing."""
    if importlib.util.find_spec("mypy") is None:
        raise ToolMissing(f"mypy is not installed for {sys.executable}")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", "--no-pretty"]
    command += ["--no-color-output", "--config-file=", "--cache-dir=/dev/null", "--show-error-codes", "--", file]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ToolMissing(f"mypy did not end within {_LIMIT_S:g} s") from None
    if done.returncode not in {0, 1}:
        raise ToolMissing(f"mypy failed: {done.stderr.strip() or done.stdout.strip()}")
    return [
        Finding(file=match["file"], line=int(match["line"]), kind=Kind.TYPE, text=match["text"])
        for match in map(_LINE.fullmatch, done.stdout.splitlines())
        if match is not None
    ]
