# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/writing-filters.md names every public member of what a filter imports, with its arguments, and its recipes work.

docs/from-mimedefang.md names only members that exist.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import defang_worker
from defang_common.wire.state import Carried
from defang_worker.api import filter_file
from defang_worker.api.hooks import HOOKS
from defang_worker.api.part_facts import PartHeaders
from defang_worker.effects.recorded import RecordedEffects
from tests.worker.conftest import make_worker

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "writing-filters.md").read_text()
BOTH_PAGES = PAGE + (DOCS / "from-mimedefang.md").read_text()

# Public by name only: these are for the worker, which makes the objects and turns them into lines of the wire.
FOR_THE_WORKER = {
    "Connection": {"began_at", "of_request", "settings", "states"},
    "Envelope": {
        "began_at",
        "commands",
        "directory",
        "journal",
        "of_commands",
        "of_request",
        "settings",
        "states",
        "tested",
    },
    "Recipient": {"of_commands", "of_request"},
    "Defect": {"of", "with_severity"},
    "Message": {
        "body",
        "check_budget",
        "defects_of",
        "final_body",
        "finish_body",
        "is_parsed",
        "journal",
        "known_defects",
        "known_parts",
        "outbox",
        "record",
        "refused_for_structure",
        "results",
        "settings",
    },
    "Headers": {"changes", "earlier_changed"},
    "Part": {"entity", "field_changes", "put", "replacement", "shown"},
    "Response": {"correction", "to_answer", "to_result"},
}
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
RECIPES = dict(re.findall(r"^### ([^\n]+)\n(?:(?!^###).)*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))


def _section(heading: str) -> str:
    return re.split(rf"^## {heading}$", PAGE, flags=re.MULTILINE)[1].partition("\n## ")[0]


def _told(heading: str) -> dict[str, str]:
    """The members in the first cells of a section's tables, with what stands in brackets behind a method's name."""
    cells = re.findall(r"^\| (`.*?`) \|", _section(heading), re.MULTILINE)
    return dict(re.findall(r"`(\w+)(\(.*?\))?`", " ".join(cells)))


def _public(cls: type) -> set[str]:
    inherited = {name for base in (str, int, Exception) if issubclass(cls, base) for name in dir(base)}
    return {name for name in dir(cls) if not name.startswith("_")} - inherited | set(getattr(cls, "__members__", ()))


def _arguments(cls: type, name: str) -> str:
    """How the member is called, without `self` and types; empty for what is not called."""
    static = inspect.getattr_static(cls, name)
    if not isinstance(static, classmethod) and not inspect.isfunction(static):
        return ""
    function = static.__func__ if isinstance(static, classmethod) else static
    signature = inspect.signature(function)
    plain = [argument.replace(annotation=inspect.Parameter.empty) for argument in signature.parameters.values()][1:]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _same_arguments(told: str, real: str) -> bool:
    if not told or not real:
        return told == real
    return ast.dump(ast.parse(f"lambda {told[1:-1]}: 0")) == ast.dump(ast.parse(f"lambda {real[1:-1]}: 0"))


@pytest.mark.parametrize("name", defang_worker.__all__)
def test_table_names_every_public_member(name: str) -> None:
    cls = getattr(defang_worker, name)
    assert set(_told(name)) == _public(cls) - FOR_THE_WORKER.get(name, set())


@pytest.mark.parametrize("name", defang_worker.__all__)
def test_table_has_the_arguments_of_each_method(name: str) -> None:
    cls = getattr(defang_worker, name)
    told = _told(name)
    wrong = {
        member: real
        for member, arguments in told.items()
        if not _same_arguments(arguments, real := _arguments(cls, member))
    }
    assert not wrong


def test_no_section_and_no_member_is_told_twice() -> None:
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert len(headings) == len({*headings})
    for name in defang_worker.__all__:
        members = re.findall(
            r"`(\w+)(?:\(.*?\))?`", " ".join(re.findall(r"^\| (`.*?`) \|", _section(name), re.MULTILINE))
        )
        assert len(members) == len({*members}), name


def test_names_left_to_the_worker_exist() -> None:
    for name, members in FOR_THE_WORKER.items():
        assert members <= _public(getattr(defang_worker, name))


def test_each_check_is_told_with_the_option_that_switches_it_on() -> None:
    told = dict(re.findall(r"^\| `(\w+)\(.*?\)` \|.*\| `(-\w)` \|", _section("Filter"), re.MULTILINE))
    assert told == {"filter_relay": "-r", "filter_helo": "-H", "filter_sender": "-s", "filter_recipient": "-t"}
    assert set(told) < set(HOOKS)


def test_both_pages_name_only_members_that_exist() -> None:
    used = re.findall(r"(?<![\w.])((?:message\.|part\.)?[a-zA-Z]+)\.(\w+)(?!\w*\.py)", BOTH_PAGES)
    known = [(owner, member) for owner, member in used if owner in NAMES]
    assert len(known) > 30
    assert [pair for pair in known if not hasattr(NAMES[pair[0]], pair[1]) and pair[1] != "eml"] == []


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
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
