# SPDX-License-Identifier: GPL-3.0-or-later
"""protocol.md has a section for each module of the codec, its tables, and the headings that the code cites."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from defang_common.wire import commands, lines, requests, results
from scripts import fill_tables

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "protocol.md").read_text()
HEADINGS = {heading.lower() for heading in re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE)}
PACKAGES = ("defang_common", "defang_milter", "defang_mux", "defang_worker", "tests", "demo", "benchmarks")
_CITED = re.compile(r"protocol\.md, ([A-Za-z][A-Za-z -]*?)[),:.;]")


def _citations() -> set[str]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {heading for path in files for heading in _CITED.findall(path.read_text())}


def test_every_heading_that_the_code_cites_is_there() -> None:
    cited = _citations()
    assert len(cited) > 5
    assert {heading for heading in cited if heading.lower() not in HEADINGS} == set()


def test_every_link_within_the_document_leads_to_a_heading() -> None:
    anchors = {heading.replace(" ", "-").replace(",", "") for heading in HEADINGS}
    links = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert links
    assert links <= anchors


def test_every_module_of_the_codec_has_its_section() -> None:
    rows = dict(re.findall(r"^\| \[([^]]+)\]\([^)]+\) \| `(\w+)` \|", TEXT, re.MULTILINE))
    modules = {path.stem for path in (ROOT / "defang_common" / "wire").glob("*.py")} - {"__init__"}
    assert set(rows.values()) == modules
    assert {section.lower() for section in rows} <= HEADINGS


@pytest.mark.parametrize("name", ["requests", "commands", "results"])
def test_table_stands_once_and_as_the_code_has_it(name: str) -> None:
    found = re.findall(rf"<!-- table: {name} -->\n(.*?)\n<!-- end of table -->", TEXT, re.DOTALL)
    assert found == [fill_tables.TABLES[name]()], "make docs repairs this"


def test_table_of_commands_has_a_line_for_each_letter() -> None:
    _has_rows(fill_tables.TABLES["commands"](), [row.letter for row in commands.TABLE])


def test_table_of_results_has_a_line_for_each_letter() -> None:
    _has_rows(fill_tables.TABLES["results"](), [row.letter.decode() for row in results.TABLE])


def test_table_of_requests_has_a_line_for_each_word() -> None:
    _has_rows(fill_tables.TABLES["requests"](), [row.word.decode() for row in requests.TABLE])


def test_limits_of_lines_are_those_of_the_code() -> None:
    section = TEXT.partition("\n## Lines\n")[2].partition("\n## ")[0]
    numbers = {int(number.replace(",", "")) for number in re.findall(r"\b\d{1,2},\d{3}\b", section)}
    assert numbers == {
        lines.MAX_REQUEST_LINE_BYTES,
        lines.MAX_ANSWER_LINE_BYTES,
        results.MAX_LINE_BYTES,
        results.MAX_FILE_BYTES,
    }


def test_names_of_differences_are_unique() -> None:
    section = TEXT.partition("\n## Differences from MIMEDefang\n")[2]
    names = re.findall(r"^- `([a-z0-9-]+)`: ", section, re.MULTILINE)
    assert len(names) > 20
    assert len(names) == len({*names})
    assert len(names) == len(re.findall(r"^- ", section, re.MULTILINE))


def _has_rows(table: str, words: list[str]) -> None:
    assert [re.match(r"\| `([^`]+)`", line)[1] for line in table.splitlines()[2:]] == words  # type: ignore[index]
