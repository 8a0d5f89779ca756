# SPDX-License-Identifier: GPL-3.0-or-later
"""What callbacks return: what can be no answer is found, with what to write instead; the rest is left alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from defang_worker.api import filter_file
from defang_worker.api.hooks import FilterFault
from defang_worker.checking.findings import Kind
from defang_worker.checking.returns import wrong_returns
from defang_worker.checking.rules import check_source

SENDER = "filter_sender(envelope)"
HEAD = "from defang_worker import CommandFailed, Lookup, Response, Verdict\n"


def found(callback: str, body: str) -> list[tuple[int, str]]:
    return list(wrong_returns(ast.parse(f"def {callback}:\n    {body}\n")))


@pytest.mark.parametrize(
    ("callback", "returned", "instead"),
    [
        (SENDER, "('REJECT', 'go away')", "return Response.reject('go away')"),
        (SENDER, "('REJECT', text, 550, '5.7.9', 5)", "return Response.reject(text, code=550, dsn='5.7.9', delay_s=5)"),
        (SENDER, "('TEMPFAIL', f'{text}')", "return Response.tempfail(f'{text}')"),
        (SENDER, "('DISCARD', 'x')", "return Response.discard()"),
        (SENDER, "('ACCEPT_AND_NO_MORE_FILTERING', 'ok')", "return Response.accept_all()"),
        (SENDER, "('CONTINUE', 'ok')", "return None"),
        (SENDER, "'CONTINUE'", "return None"),
        (SENDER, "True", "return None"),
        (SENDER, "False", "return Response.reject()"),
        (SENDER, "(0, 'go away')", "return Response.reject('go away')"),
        (SENDER, "-1", "return Response.tempfail()"),
        (SENDER, "Verdict.REJECT", "return Response.reject()"),
        (SENDER, "Response.reject", "return a Response or None"),
        (SENDER, "not text", "return a Response or None"),
        (SENDER, "text == 'x'", "return a Response or None"),
        (SENDER, "[text]", "return a Response or None"),
        (SENDER, "text and 'REJECT'", "return Response.reject()"),
        (SENDER, "None if text else 'REJECT'", "return Response.reject()"),
        ("filter_end(message)", "1", "return None"),
        ("filter_map(table, key)", "('OK', 'REJECT')", "return Lookup.found('REJECT')"),
        ("filter_map(table, key)", "('NOTFOUND', '')", "return Lookup.not_found('')"),
        ("filter_map(table, key)", "None", "return a Lookup"),
        ("filter_unknown_command(command, words)", "('ok', text)", "return text"),
        ("filter_unknown_command(command, words)", "('error:', 'No')", "raise CommandFailed('No')"),
        ("filter_unknown_command(command, words)", "0", "return a text or None"),
    ],
)
def test_literal_that_is_no_answer_is_found(callback: str, returned: str, instead: str) -> None:
    ((line, told),) = found(callback, f"\n    return {returned}")
    assert line == 3
    assert told.startswith(f"{callback.partition('(')[0]} returns ")
    assert told.endswith(f"which is no answer: {instead}")


@pytest.mark.parametrize(
    ("callback", "body"),
    [
        (SENDER, "return"),
        (SENDER, "return None"),
        (SENDER, "return Response.reject('x')"),
        (SENDER, "return text and Response.reject('x')"),
        (SENDER, "return whatever"),
        (SENDER, "return whatever[0]"),
        (SENDER, "return REFUSAL"),
        (SENDER, "any(map(lambda x: x == 1, []))"),
        (SENDER, "def inner(): return True"),
        ("on_stop()", "return 1"),
        ("filter_tick(kind)", "return 1"),
        ("filter_map(table, key)", "return Lookup.not_found()"),
        ("filter_unknown_command(command, words)", "return 'text'"),
        ("filter_unknown_command(command, words)", "return None"),
        ("of_the_site(envelope)", "return ('REJECT', 'go away')"),
    ],
)
def test_nothing_is_said_about_what_may_be_an_answer(callback: str, body: str) -> None:
    assert found(callback, body) == []


def test_finding_names_the_line_among_the_others() -> None:
    (finding,) = check_source("site.py", "def filter_relay(connection):\n    return 'REJECT'\n")
    assert (finding.line, finding.kind) == (2, Kind.VALUE)


@pytest.mark.parametrize(
    "returned", ["('REJECT', 'no')", "True", "Verdict.REJECT", "Response.reject", "not 1", "1 == 2"]
)
def test_what_is_found_is_refused_when_it_is_returned(returned: str, tmp_path: Path) -> None:
    path = tmp_path / "site.py"
    path.write_text(f"{HEAD}def filter_relay(connection):\n    return {returned}\n")
    with pytest.raises(FilterFault):
        filter_file.load(str(path)).ask("filter_relay", None)
