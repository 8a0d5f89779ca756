# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/ambiguous-mail.md has every defect with its severity, and the presets as they are."""

from __future__ import annotations

import re
from pathlib import Path

from defang_worker.mime.defects import DEFECTS
from defang_worker.mime.policy import PRESETS

PAGE = (Path(__file__).parents[2] / "docs" / "ambiguous-mail.md").read_text()


def test_the_table_of_defects_is_that_of_the_code() -> None:
    told = re.findall(r"^\| `([\w-]+)` \| (info|low|medium|high) \| \S", PAGE, re.MULTILINE)
    assert told == [(name, construct.severity.name.lower()) for name, construct in DEFECTS.items()]


def test_the_table_of_policies_is_that_of_the_code() -> None:
    head, *rows = re.findall(r"^\| ([^-\n].*) \|$", PAGE.partition("## The rebuild")[0], re.MULTILINE)
    presets = [PRESETS[name.strip("` ")] for name in head.split("|")[1:]]
    fields = ["low", "medium", "high", "incomplete", "encrypted", "unreadable"]
    told = [[cell.strip() for cell in row.split("|")[1:]] for row in rows[1:]]
    assert told == [[getattr(preset, field).name.lower() for preset in presets] for field in fields]
