# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/checks.md: its filters can be loaded, do what the page says, and its names exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from defang_worker import Settings, checks
from defang_worker.api import filter_file
from defang_worker.checks import (
    CallAhead,
    CallAheadResult,
    Check,
    CheckResult,
    FailurePolicy,
    Outcome,
    Rspamd,
    RspamdResult,
    Spamd,
)
from defang_worker.checks.runner import Results
from defang_worker.effects.recorded import RecordedEffects
from tests.worker.conftest import make_worker

PAGE = (Path(__file__).parents[3] / "docs" / "checks.md").read_text()
FILTERS = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def filter_" in block]


@pytest.mark.parametrize("block", FILTERS)
def test_every_filter_on_the_page_can_be_loaded(block: str, tmp_path: Path) -> None:
    path = tmp_path / "site.py"
    path.write_text(block)
    assert filter_file.load(str(path)).hooks


def test_own_check_of_the_page_finds_what_it_looks_for(workdir: Path) -> None:
    path = workdir / "site.py"
    path.write_text(next(block for block in FILTERS if "class Sandbox" in block))
    message = workdir / "INPUTMSG"
    for name, verdict in [("letter.txt", []), ("setup.exe", ["B554 5.7.1 No%20programs,%20please"])]:
        (workdir / "RESULTS").unlink(missing_ok=True)
        message.write_text(f"Content-Disposition: attachment; filename={name}\n\nx\n")
        worker = make_worker(filter_file.load(str(path), RecordedEffects()))
        assert worker.answer(f"scan Q1 {workdir}".encode()) == b"ok\n"
        assert (workdir / "RESULTS").read_text().splitlines() == [*verdict, "F"]


def test_outcomes_policies_and_members_are_those_of_the_code() -> None:
    assert re.findall(r"`Outcome\.(\w+)` \|", PAGE) == [one.name for one in Outcome]
    assert re.findall(r"^\| `\"(\w+)\"`", PAGE, re.MULTILINE) == [policy.value for policy in FailurePolicy]
    for cls, names in [
        (CheckResult, re.findall(r"`result\.(\w+)`", PAGE)),
        (Results, re.findall(r"results\.(\w+)", PAGE)),
    ]:
        assert names
        assert all(hasattr(cls, name) for name in names)


@pytest.mark.parametrize(
    ("heading", "cls"), [("Spam: SpamAssassin", Spamd), ("Spam: rspamd", Rspamd), ("Call-ahead", CallAhead)]
)
def test_arguments_of_checks_are_told(heading: str, cls: type) -> None:
    section = PAGE.split(f"## {heading}\n")[1].partition("\n## ")[0]
    rows = section.split("| Argument | Meaning |")[1].partition("\n\n")[0]
    told = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?`) \|", rows, re.MULTILINE)))
    real = {
        name
        for base in cls.__mro__
        if "__init__" in vars(base) and issubclass(base, Check)
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD and name != "self"
    }
    assert sorted(told) == sorted(real)


def test_members_of_spam_results_are_told() -> None:
    section = PAGE.split("## Spam: SpamAssassin\n")[1].partition("\n## A check")[0]
    own = set(dir(RspamdResult)) - set(dir(CheckResult))
    assert {name for name in own if not name.startswith("_")} <= set(re.findall(r"`(\w+)", section))


def test_members_of_a_call_aheads_result_are_told() -> None:
    section = PAGE.split("## Call-ahead\n")[1].partition("\n## ")[0]
    own = set(dir(CallAheadResult)) - set(dir(CheckResult))
    assert {name for name in own if not name.startswith("_")} <= set(re.findall(r"`(\w+)", section))


def test_settings_of_the_page_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0])
    assert [check.name for check in Settings.load(str(path)).checks] == ["clamd", "program"]


def test_imports_of_the_page_are_public() -> None:
    imported = re.findall(r"^from defang_worker\.checks import (.*)$", PAGE, re.MULTILINE)
    assert {name for line in imported for name in line.split(", ")} <= set(checks.__all__)
