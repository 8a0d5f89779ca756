# SPDX-License-Identifier: GPL-3.0-or-later
"""What README.md says is so: its filter can be used, its paths exist, its words are those of the Makefile."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from defang_worker.command_line import DEFAULT_FILTER

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def test_the_filter_can_be_loaded(tmp_path: Path) -> None:
    block = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert block is not None
    site = tmp_path / "site.py"
    site.write_text(block[1])
    worker = [sys.executable, "-m", "defang_worker", "-f", str(site), "test"]
    run = subprocess.run(worker, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_path_that_is_named_exists() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    mapped = re.findall(r"`([\w./]+/|[\w./]+\.(?:py|md))`", TEXT)
    # The last paragraph of the map names files in a package by their bare names.
    # One that begins with a slash is a site's.
    ours = [name for name in (*links, *mapped) if "/" in name and not name.startswith("/")]
    missing = [name for name in ours if not (ROOT / name).exists()]
    assert len(links) > 3
    assert len(mapped) > 10
    assert not missing


def test_the_filter_has_one_path_in_all_documents() -> None:
    texts = [
        TEXT,
        *(path.read_text() for folder in ("docs", "init") for path in (ROOT / folder).rglob("*.*") if path.is_file()),
    ]
    named = {path for text in texts for path in re.findall(r"/etc/mail/[\w-]*filter\S*\.py", text)}
    assert named == {DEFAULT_FILTER}


def test_the_words_are_those_of_the_makefile() -> None:
    told = set(re.findall(r"^\| `make ([a-z]+)", TEXT, re.MULTILINE))
    made = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert told == made - {"help", "clean"}
