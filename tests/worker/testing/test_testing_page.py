# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/testing-filters.md: its examples run, and it tells all that there is."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from defang_worker import testing
from defang_worker.checking.findings import Kind
from defang_worker.testing import MessageBuilder, Result, Session
from defang_worker.trial import options
from tests.worker.trial.test_command import KEYS

PAGE = (Path(__file__).parents[3] / "docs" / "testing-filters.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
WAIT_S = 60
# Of the front matter of pytest itself, only what this tree's own settings would change.
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]


def section(heading: str) -> str:
    match = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


def first_cells(heading: str) -> set[str]:
    """The names in code in the first column of the section's table, without what stands in brackets."""
    cells = re.findall(r"^\| (`.*?) \|", section(heading), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([\w-]+)", cell)}


def run_pytest(directory: Path, *words: str) -> str:
    done = subprocess.run([*PYTEST, *words], cwd=directory, capture_output=True, text=True, timeout=WAIT_S, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("example", [text for text in EXAMPLES if "from defang_worker.testing import" in text])
def test_example_runs_as_it_stands(example: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_site.py").write_text(example)
    assert re.search(rf"^{example.count('def test_')} passed", run_pytest(tmp_path), re.MULTILINE)


def test_fixtures_are_there_without_an_import(tmp_path: Path) -> None:
    (settings,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    (example,) = (text for text in EXAMPLES if "run_filter, new_message" in text)
    (tmp_path / "pytest.ini").write_text(settings)
    (tmp_path / "site.py").write_text(EXAMPLES[0].partition("\n\ndef test_")[0])
    (tmp_path / "test_site.py").write_text(example)
    assert "1 passed" in run_pytest(tmp_path)


def test_fixture_without_a_filter_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_site.py").write_text("def test_it(run_filter, new_message): run_filter(new_message())\n")
    assert "run_filter needs a filter" in run_pytest(tmp_path)


def test_plugin_imports_nothing_of_ours_before_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_site.py").write_text(
        "import sys\n\n\ndef test_it():\n"
        "    assert 'pytest_defang' in sys.modules\n"
        "    assert not [name for name in sys.modules if name.startswith(('defang_', 'msgpack'))]\n"
    )
    assert "1 passed" in run_pytest(tmp_path)


def test_keys_of_the_json_object_are_those_of_the_table() -> None:
    assert set(KEYS) <= first_cells("The object for a message")


def test_words_of_the_check_are_those_of_the_table() -> None:
    assert first_cells("What is wrong with it: `defang-worker check`") == {kind.value for kind in Kind}


def test_options_are_those_of_the_table() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    options.add_options(parser)
    told = set(re.findall(r"--?[a-z][a-z-]*", "".join(re.findall(r"^\| (`-.*?) \|", PAGE, re.MULTILINE))))
    for action in parser._actions:
        if action.option_strings:
            assert told & set(action.option_strings), action.option_strings


def test_every_member_of_builder_and_result_is_told() -> None:
    verbs = {name for name in vars(MessageBuilder) if not name.startswith("_")}
    assert first_cells("MessageBuilder") == verbs
    members = {name for name in dir(Result) if not name.startswith("_")}
    members |= {field.name for field in dataclasses.fields(Result)}
    assert members <= first_cells("Result")


def test_arguments_of_the_builder_are_those_of_the_table() -> None:
    for name, told in re.findall(r"`(\w+)\((.*?)\)`", section("MessageBuilder")):
        real = inspect.signature(getattr(MessageBuilder, name))
        words = [str(word.replace(annotation=inspect.Parameter.empty)) for word in list(real.parameters.values())[1:]]
        assert [word.replace(" ", "").replace("'", '"') for word in words] == [
            word.strip() for word in told.split(",") if word.strip() not in {"", "*"}
        ], name


def test_facts_of_the_session_are_named() -> None:
    assert all(f"`{field.name}`" in section("Tests of your own") for field in dataclasses.fields(Session))


def test_every_function_is_told() -> None:
    functions = [name for name in testing.__all__ if inspect.isfunction(getattr(testing, name))]
    assert functions
    for name in functions:
        assert f"`{name}(" in PAGE, name
