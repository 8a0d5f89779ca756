# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of docs/filters are documents that run: short, on public names only, and doing what they say.

What the suggested minimum makes of whole messages is in the golden cases without a filter.py of their own.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from defang_common.wire import commands
from defang_worker import Message
from defang_worker.api import filter_file

FILTERS = sorted((Path(__file__).parents[2] / "docs" / "filters").glob("*.py"))
SUGGESTED_MINIMUM = next(path for path in FILTERS if path.stem == "suggested_minimum")
README = (FILTERS[0].parent / "README.md").read_text()
PUBLIC = {"defang_worker", "defang_worker.archives", "defang_worker.checks"}
MAX_LINES = 67
# One is not about a single thing, but a whole site, to be taken over as it is.
WHOLE_SITES = {"classic_site": 140}
WAIT_S = 60


@pytest.mark.parametrize("path", FILTERS, ids=lambda path: path.stem)
def test_example_loads(path: Path) -> None:
    assert filter_file.load(str(path)).hooks


@pytest.mark.parametrize("path", FILTERS, ids=lambda path: path.stem)
def test_example_is_short_and_says_what_it_shows(path: Path) -> None:
    assert path.read_text().count("\n") <= WHOLE_SITES.get(path.stem, MAX_LINES)
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", FILTERS, ids=lambda path: path.stem)
def test_example_uses_public_names_only(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
    assert {name for name in imported if str(name).partition(".")[0] not in sys.stdlib_module_names} <= PUBLIC


def test_every_example_is_listed() -> None:
    assert re.findall(r"\]\((\w+)\.py\)", README) == [
        "suggested_minimum",
        *(p.stem for p in FILTERS if p != SUGGESTED_MINIMUM),
    ]


@pytest.mark.parametrize("path", FILTERS, ids=lambda path: path.stem)
def test_check_finds_nothing_wrong_with_an_example(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "defang_worker", "check", "--no-paths", "--filter", path],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def left_by_suggested_minimum(name: str) -> bool:
    """Whether an attachment of that name is delivered."""
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\n"
        b'Content-Type: application/octet-stream\nContent-Disposition: attachment; filename="%b"\n\nx\n--b--\n'
    ) % name.encode()
    site = filter_file.load(str(SUGGESTED_MINIMUM))
    message = Message(commands.decode(b"S<a@b>\nF\n"), raw, "/nowhere", site.settings)
    for part in message.root.children:
        site.ask("filter_part", message, part)
    assert not message.is_rejected
    return not message.root.children[1].is_dropped


@pytest.mark.parametrize(
    "name",
    [
        "invoice.exe",
        "INVOICE.EXE",
        "invoice.pdf.scr",
        "invoice.exe.",
        "invoice.exe ...",
        "C:\\temp\\invoice.js",
        "invoice.vbs:stream",
        "invoice.\u202efdp.exe",
        "invoice.{00020C01-0000-0000-C000-000000000046}",
        "disk.iso",
        "link.lnk",
        "script.ps1",
        "book.xll",
        "help.chm",
        "store.msixbundle",
        "command.com",
    ],
)
def test_suggested_minimum_removes(name: str) -> None:
    assert not left_by_suggested_minimum(name)


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "report.pdf", "exe", "letter.docx", "exe.png", "data.mat", "mail.eml", "README.md", "a.exeter", ""],
)
def test_suggested_minimum_leaves(name: str) -> None:
    assert left_by_suggested_minimum(name)


ATTACHED = (
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\n"
    b'Content-Disposition: attachment; filename="a.docm"\n\nx\n--b\n'
    b'Content-Disposition: attachment; filename="a.exe"\n\nx\n--b--\n'
)


def played(name: str, *recipients: str, more: bytes = b"") -> tuple[Message, list[str]]:
    """The message after an example was called with it, and the names of the attachments that stay."""
    site = filter_file.load(str(SUGGESTED_MINIMUM.with_name(f"{name}.py")))
    lines = b"".join(b"R<%b> ? ? ?\n" % recipient.encode() for recipient in recipients)
    message = Message(commands.decode(b"S<a@b>\n" + lines + more + b"F\n"), ATTACHED, "/nowhere", site.settings)
    site.ask("filter_begin", message)
    if not message.is_rejected:
        for part in message.root.children:
            site.ask("filter_part", message, part)
    return message, [part.filename for part in message.leaves() if part.filename]


@pytest.mark.parametrize(
    ("domain", "left"),
    [("law.example.org", []), ("LAB.example.org", ["a.docm", "a.exe"]), ("example.net", ["a.docm"])],
)
def test_each_domain_has_its_rules(domain: str, left: list[str]) -> None:
    assert played("stream_by_domain", f"a@{domain}", f"b@{domain}")[1] == left


def test_domains_are_parted_before_their_rules() -> None:
    message, left = played("stream_by_domain", "a@law.example.org", "b@lab.example.org", "c@law.example.org")
    assert message.is_streamed
    assert message.outbox.groups == [("a@law.example.org", "c@law.example.org"), ("b@lab.example.org",)]
    assert left == ["a.docm", "a.exe"]


def test_programs_are_kept_and_the_sender_is_told() -> None:
    message, left = played("quarantine", "a@example.org")
    assert (left, message.quarantine_reasons) == (["a.docm"], ("program",))
    assert [kind.value for kind in message.outbox.notices] == ["sender-notice"]


def test_forged_line_end_keeps_the_whole() -> None:
    message, _ = played("quarantine", "a@example.org", more=b"!\n")
    assert message.outbox.is_whole_kept
    assert message.is_rejected
