# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules for what a filter does are loaded by its template, and none for what it does not."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from defang_worker.api.envelope import Connection, Envelope
from defang_worker.api.message import Message
from defang_worker.api.part import Part
from defang_worker.api.settings import Settings
from defang_worker.preloading import MODULES

FILTERS = Path(__file__).parents[2] / "docs" / "filters"
LETTER = b"""\
From: alice@example.com
To: bob@example.org
Subject: lunch
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

Hello Bob
--b
Content-Type: application/octet-stream; name=a.exe
Content-Disposition: attachment; filename=a.exe

MZ
--b--
"""
# Prints what the first messages of a worker make it load, and what its template has loaded.
SCAN = """
import logging, os, sys
from defang_worker import __main__, arguments, log_lines, loop, preloading, template
from defang_worker.api import filter_file
from defang_worker.effects.recorded import RecordedEffects
from defang_worker.rehearsal import rehearse
from defang_worker.status import StatusTags

_, path, directory = sys.argv
formatter = log_lines.configure()
site = filter_file.load(path, RecordedEffects())
preloading.load_for(path)
rehearse(formatter)
loaded = set(sys.modules)
worker = loop.Worker(site, StatusTags(None), formatter)
assert worker.answer(b"scan Q1 " + os.fsencode(directory)) == b"ok\\n"
print(*set(sys.modules) - loaded)
print(*loaded)
"""


def loaded_by(path: Path, workdir: Path) -> tuple[set[str], set[str]]:
    """The modules that a first message loads, and those that the template has loaded."""
    argv = [sys.executable, "-c", SCAN, str(path), str(workdir)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    late, early = run.stdout.split("\n")[:2]
    return set(late.split()), set(early.split())


@pytest.mark.parametrize(
    "name", ["disclaimer", "large_attachments", "per_recipient", "quarantine", "suggested_minimum", "viruses"]
)
def test_first_message_of_an_example_filter_loads_no_module(spool: Path, workdir: Path, name: str) -> None:
    (workdir / "INPUTMSG").write_bytes(LETTER)
    # No scanner is asked, and no directory of the system is written to.
    source = (FILTERS / f"{name}.py").read_text().replace("/var/", f"{spool}/")
    path = spool / "filter.py"
    path.write_text(source)
    late, _ = loaded_by(path, workdir)
    assert late == set()


def test_filter_pays_for_no_module_that_it_has_no_word_for(spool: Path, workdir: Path) -> None:
    path = spool / "filter.py"
    path.write_text("def filter_begin(message):\n    message.headers.add('X-Seen', 'yes')\n")
    late, early = loaded_by(path, workdir)
    assert late == set()
    assert early.isdisjoint({"email", "msgpack", "defang_worker.api.quarantine", "defang_worker.api.run_checks"})


def test_every_word_is_a_member_that_filters_know_and_every_module_is_there() -> None:
    members = {name for kind in (Message, Part, Connection, Envelope, Settings) for name in dir(kind)}
    members |= set(Settings.__dataclass_fields__)
    assert {word.decode("ascii") for word in MODULES} <= members
    names = {name for names in MODULES.values() for name in names}
    assert not [name for name in names if find_spec(name, "defang_worker") is None]
