# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker's tests share: filters written to a file, working directories, and a worker in this process."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from defang_worker.api import filter_file
from defang_worker.api.hooks import SiteFilter
from defang_worker.effects.recorded import RecordedEffects
from defang_worker.log_lines import QueueIdFormatter
from defang_worker.loop import Worker
from defang_worker.status import StatusTags

COMMANDS = (
    b"iivLwa00\nS<alice@example.com>\nsSIZE=100\n=i Q1\n=j mail.example.org\nQQ1\nHclient.example.com\n"
    b"I192.0.2.7\nEhelo.example.com\nR<bob@example.org> local ? bob\nUlunch\nF\n"
)
MESSAGE = b"From: alice@example.com\nTo: bob@example.org\nSubject: lunch\n\nHello Bob\n"

LoadFilter = Callable[[str], SiteFilter]


@pytest.fixture
def load_filter(spool: Path) -> LoadFilter:
    """Loads a filter from its source text. The names of `defang_worker` are imported in a line before it.

    Its effects are only recorded.
    """

    def load(source: str) -> SiteFilter:
        path = spool / "filter.py"
        path.write_text("from defang_worker import *\n" + textwrap.dedent(source).lstrip("\n"))
        return filter_file.load(str(path), RecordedEffects())

    return load


def make_worker(site: SiteFilter) -> Worker:
    """A worker without status tags, whose log lines go where pytest collects them."""
    return Worker(site, StatusTags(None), QueueIdFormatter())


@pytest.fixture
def workdir(spool: Path) -> Path:
    """A working directory with a small message in it."""
    directory = spool / "mdefang-Q1"
    directory.mkdir()
    (directory / "COMMANDS").write_bytes(COMMANDS)
    (directory / "INPUTMSG").write_bytes(MESSAGE)
    return directory
