# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filter-reference.md tells every public member of what a filter imports, and what the manual shows works.

docs/from-mimedefang.md names only members that exist.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import defang_worker
from defang_common.wire.state import Carried
from defang_worker.api import filter_file
from defang_worker.api.hooks import HOOKS
from defang_worker.api.part_facts import PartHeaders
from defang_worker.effects.recorded import RecordedEffects
from scripts import filter_reference
from tests.worker.conftest import make_worker

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "writing-filters.md").read_text()
REFERENCE = (DOCS / "filter-reference.md").read_text()
BOTH_PAGES = PAGE + (DOCS / "from-mimedefang.md").read_text()

# What the pages call the objects that a callback gets.
NAMES = {
    "connection": defang_worker.Connection,
    "envelope": defang_worker.Envelope,
    "message": defang_worker.Message,
    "part": defang_worker.Part,
    "recipient": defang_worker.Recipient,
    "message.envelope": defang_worker.Envelope,
    "message.headers": defang_worker.Headers,
    "part.headers": PartHeaders,
    "Response": defang_worker.Response,
    "Settings": defang_worker.Settings,
}
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
RECIPES = dict(re.findall(r"^### ([^\n]+)\n(?:(?!^###).)*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))


def _section(heading: str) -> str:
    return re.split(rf"^## {heading}$", PAGE, flags=re.MULTILINE)[1].partition("\n## ")[0]


def test_reference_has_every_class_that_can_be_imported() -> None:
    told = [name for names in filter_reference.GROUPS.values() for name in names]
    assert sorted(told) == sorted(defang_worker.__all__)


@pytest.mark.parametrize("name", defang_worker.__all__)
def test_reference_tells_every_public_member_and_means_something_by_it(name: str) -> None:
    section = re.split(rf"^### {name}$", REFERENCE, flags=re.MULTILINE)[1].partition("\n##")[0]
    told = re.findall(r"^- `(\w+)[^`]*`: ..+$", section, re.MULTILINE)
    assert len(told) == len({*told})
    assert set(told) == filter_reference.public_members(getattr(defang_worker, name))


def test_member_without_a_docstring_is_an_error() -> None:
    class Silent:
        def verb(self) -> None:
            pass

    with pytest.raises(LookupError, match=r"Silent\.verb"):
        filter_reference.of_member(Silent, "verb")


def test_names_left_to_the_worker_exist() -> None:
    for name, members in filter_reference.FOR_THE_WORKER.items():
        assert all(hasattr(getattr(defang_worker, name), member) for member in members - set_in_init(name)), name


def set_in_init(name: str) -> set[str]:
    """Fields without a default are no attributes of the class."""
    return set(getattr(getattr(defang_worker, name), "__dataclass_fields__", ()))


def test_no_heading_is_there_twice() -> None:
    headings = re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)
    assert len(headings) == len({*headings})


def test_each_check_is_told_with_the_option_that_switches_it_on() -> None:
    told = dict(re.findall(r"^\| `(\w+)\(.*?\)` \|.*\| `(-\w)` \|", _section("Callbacks"), re.MULTILINE))
    assert told == {"filter_relay": "-r", "filter_helo": "-H", "filter_sender": "-s", "filter_recipient": "-t"}
    assert set(told) < set(HOOKS)


def test_both_pages_name_only_members_that_exist() -> None:
    used = re.findall(r"(?<![\w.])((?:message\.|part\.)?[a-zA-Z]+)\.(\w+)(?!\w*\.py)", BOTH_PAGES)
    known = [(owner, member) for owner, member in used if owner in NAMES]
    assert len(known) > 30
    assert [pair for pair in known if not hasattr(NAMES[pair[0]], pair[1]) and pair[1] != "eml"] == []


@pytest.mark.parametrize("block", [text for text in BLOCKS if "def test_" not in text])
def test_every_filter_on_the_page_can_be_loaded(block: str, tmp_path: Path) -> None:
    path = tmp_path / "site.py"
    path.write_text(block)
    assert filter_file.load(str(path)).hooks


def _serve(workdir: Path, recipe: str, request: str = "scan Q1 {}") -> str:
    path = workdir / "site.py"
    path.write_text(RECIPES[recipe])
    return make_worker(filter_file.load(str(path), RecordedEffects())).answer(request.format(workdir).encode()).decode()


def _results(workdir: Path, recipe: str) -> list[str]:
    assert _serve(workdir, recipe) == "ok\n"
    return (workdir / "RESULTS").read_text().splitlines()


def _subject(raw: bytes) -> bytes:
    return raw.replace(b"Subject: lunch", b"Subject: Lottery")


def _iso(raw: bytes) -> bytes:
    return raw.replace(b"\n\n", b'\nContent-Disposition: attachment; filename="a.ISO"\n\n', 1)


@pytest.mark.parametrize(
    ("recipe", "change", "expected"),
    [
        ("Reject a subject", _subject, "B554 5.7.1 We%20do%20not%20play"),
        ("Drop disk images", _iso, "C"),
        ("Add a header", bytes, "HX-Client 192.0.2.7"),
        ("Keep a part, and tell the sender", _iso, "C"),
        ("One message for each domain", bytes, "HX-Rules-Of example.org"),
        ("Filter a part through another program", bytes, "C"),
        ("Quarantine at the mail server", bytes, "Qstray%20carriage%20returns%20or%20NULs%20in%20the%20body"),
    ],
)
def test_recipe_does_what_its_heading_says(
    recipe: str, change: Callable[[bytes], bytes], expected: str, workdir: Path
) -> None:
    if "Quarantine" in recipe:
        commands = workdir / "COMMANDS"
        commands.write_bytes(commands.read_bytes().replace(b"\nF\n", b"\n?\nF\n"))
    message = workdir / "INPUTMSG"
    message.write_bytes(change(message.read_bytes()))
    assert expected in _results(workdir, recipe)


@pytest.mark.parametrize("recipe", ["Reject a subject", "Drop disk images", "Quarantine at the mail server"])
def test_recipe_leaves_another_message_alone(recipe: str, workdir: Path) -> None:
    assert _results(workdir, recipe) == ["F"]


def test_recipe_refuses_one_recipient_and_no_other(workdir: Path) -> None:
    request = "recipok <%s@example.org> <a@example.com> 192.0.2.7 host <b@example.org> helo {} Q1 ? ? ?"
    refused = _serve(workdir, "Refuse a recipient", request % "former-colleague")
    assert refused == "ok 0 No%20longer%20with%20us 550 5.1.1 0\n"
    assert _serve(workdir, "Refuse a recipient", request % "bob").startswith("ok 1 ")


def test_recipe_counts_recipients_and_refuses_the_message(workdir: Path) -> None:
    path = workdir / "site.py"
    path.write_text(RECIPES["Remember from recipient to message"])
    worker, carried = make_worker(filter_file.load(str(path))), Carried()

    def ask(line: str) -> bytes:
        return carried.from_answer(worker.answer(carried.on_request(line.encode()).removesuffix(b"\n")))

    for name, answer in [("x", b"ok 0 "), ("bob", b"ok 1 "), ("y", b"ok 0 "), ("z", b"ok 0 ")]:
        request = f"recipok <{name}@example.org> <a@example.com> 192.0.2.7 host <x@example.org> helo {workdir} Q1 ? ? ?"
        assert ask(request).startswith(answer)
    assert ask(f"scan Q1 {workdir}") == b"ok\n"
    assert (workdir / "RESULTS").read_bytes().startswith(b"B554 5.7.1 Too%20many")


def test_every_recipe_is_tried() -> None:
    assert len([name for name in RECIPES if name in _section("Recipes")]) == 11


# The first filter


@pytest.fixture
def first_filter(tmp_path: Path) -> Path:
    """The directory as a reader has it who did what the page says."""
    section = _section("The first filter")
    filter_text, tests = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (letter,) = re.findall(r"```\n(From: .*?)```", section, re.DOTALL)
    (tmp_path / "site.py").write_text(filter_text)
    (tmp_path / "test_site.py").write_text(tests)
    (tmp_path / "letter.eml").write_text(letter)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_first_filter_does_what_the_page_shows(first_filter: Path) -> None:
    shown = re.findall(r"^ {4}\$ (defang-worker|python)(.*)\n {4}(.*)$", _section("The first filter"), re.MULTILINE)
    report = re.search(r"```\n\$ defang-worker( test-mail[^\n]*)\n(.*?)```", _section("The first filter"), re.DOTALL)
    assert report is not None
    calls = [*shown, ("defang-worker", *report.groups())]
    assert len(calls) == 3
    for program, words, output in calls:
        start = ["-m", "defang_worker"] if program == "defang-worker" else []
        done = subprocess.run(
            [sys.executable, *start, *words.split()],
            cwd=first_filter,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        printed = done.stdout.splitlines()
        for line in output.splitlines():
            assert line == "..." or line in printed or any(one.startswith(f"{line} in ") for one in printed), line
