# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/mimedefang-names.md has a row for each name of MIMEDefang's and Mailmunge's, and names of ours that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import defang_worker
from defang_milter import settings as milter_settings
from defang_mux import settings as mux_settings
from defang_worker.api.hooks import HOOKS, Filter
from defang_worker.checking import former_names

PAGE = (Path(__file__).parents[2] / "docs" / "mimedefang-names.md").read_text()
LIST = (Path(__file__).parent / "mimedefang_names.txt").read_text()
NAMES = [line for line in LIST.splitlines() if line and not line.startswith("#")]
ROWS = re.findall(r"^\| (`.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
OURS = sorted({name for _, ours in ROWS for name in re.findall(r"`([^`]+)`", ours)})
OBJECTS = {
    "message": defang_worker.Message,
    "message.headers": defang_worker.Headers,
    "envelope": defang_worker.Envelope,
    "connection": defang_worker.Connection,
    "recipient": defang_worker.Recipient,
    "part": defang_worker.Part,
    "self": Filter,
    **{name: getattr(defang_worker, name) for name in defang_worker.__all__},
}
OPTIONS = {
    "defang-mux": {option.letter for option in mux_settings.OPTIONS},
    "defang-milter": {option.letter for option in milter_settings.OPTIONS}
    | {f"-{option.name}" for option in milter_settings.OPTIONS},
}
# Arguments, macros and methods of Python's own that are spoken of, fields of records, and another row of the page.
WORDS = {
    *("warning", "subject", "preamble", "per_message", "prepend", "parts", "changes", "lower", "is_global", "v"),
    *("defang-mux", "defang-worker structure", "defang-worker features", "detail", "get_quarantine_dir", "WrongStage"),
    *("apparently_to", "permanent"),
}


def exists(name: str) -> bool:
    """Whether the page may speak of it."""
    if name in WORDS or name in HOOKS:
        return True
    program, _, option = name.partition(" -")
    if option:
        return option in OPTIONS[program]
    owner, _, member = name.rpartition(".")
    if owner in OBJECTS:
        cls = OBJECTS[owner]
        return hasattr(cls, member) or member in getattr(cls, "__dataclass_fields__", ()) or member in cls.__slots__
    try:
        if owner and hasattr(importlib.import_module(owner), member):
            return True
        return importlib.import_module(name) is not None
    except ImportError:
        return False


@pytest.mark.parametrize("name", OURS)
def test_name_of_ours_exists(name: str) -> None:
    assert exists(name)


@pytest.mark.parametrize("name", ["message.bounce", "Settings.nothing", "defang-mux -ö", "os.nothing", "bounce"])
def test_name_that_does_not_exist_is_noticed(name: str) -> None:
    assert not exists(name)


def test_every_name_has_a_row_and_no_row_is_left_over() -> None:
    told = [name for theirs, _ in ROWS for name in re.findall(r"`([^`]+)`", theirs)]
    assert sorted(told) == sorted(NAMES)


def test_check_tells_the_same_of_functions() -> None:
    functions = PAGE.partition("\n## Actions\n")[2].partition("\n## Mailmunge\n")[0]
    ours = r"`((?:message|part|self|connection|envelope|Settings|defang_worker)\.[\w.]+)`"
    told = {
        name: first
        for theirs, first in re.findall(rf"^\| (`.*?) \| {ours}", functions, re.MULTILINE)
        for name in re.findall(r"`([A-Za-z]\w*)`", theirs)
    }
    assert told == former_names.NAMES


def test_every_row_tells_a_name_of_ours_or_why_there_is_none() -> None:
    wrong = [theirs for theirs, ours in ROWS if "`" not in ours and not ours.startswith(("gone: ", "none yet: "))]
    assert not wrong
