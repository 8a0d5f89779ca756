# SPDX-License-Identifier: GPL-3.0-or-later
"""The classic header field of a score: its form, when it is there, and that a sender's own goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import Outcome, SpamResult, Symbol

SENDERS_OWN = b"X-Spam-Score: -99\nx-spam-score: 0 () NONE\n\nHello\n"


def result(score: float | None, *names: str, outcome: Outcome = Outcome.FOUND) -> SpamResult:
    return SpamResult(check="spamd", outcome=outcome, score=score, symbols=tuple(Symbol(name) for name in names))


def header(one: SpamResult, *, always: bool = False) -> list[str]:
    message = Message(commands.decode(b"S<a@b>\nF\n"), SENDERS_OWN, "/nowhere", Settings())
    message.add_spam_score_header(one, always=always)
    return message.headers.all("X-Spam-Score")


@pytest.mark.parametrize(
    ("score", "value"),
    [
        (6.8, "6.8 (******) A,B"),
        (5.0, "5.0 (*****) A,B"),
        (0.4, "0.4 () A,B"),
        (-2.5, "-2.5 () A,B"),
        (39.9, f"39.9 ({'*' * 39}) A,B"),
        (1006.64, f"1006.6 ({'*' * 40}) A,B"),
    ],
)
def test_field_has_score_stars_and_names(score: float, value: str) -> None:
    assert header(result(score, "A", "B")) == [value]


def test_field_without_names_has_no_blank_at_its_end() -> None:
    assert header(result(6.8)) == ["6.8 (******)"]


def test_other_mail_has_a_field_only_if_always_wanted() -> None:
    ham = result(1.2, "A", outcome=Outcome.NOT_FOUND)
    assert header(ham) == []
    assert header(ham, always=True) == ["1.2 (*) A"]


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.NOT_APPLICABLE])
def test_what_was_not_judged_has_no_field(outcome: Outcome) -> None:
    assert header(result(None, outcome=outcome), always=True) == []


@given(st.floats(-100, 5000), st.lists(st.from_regex(r"[A-Z_0-9]{1,40}", fullmatch=True), max_size=80))
def test_long_field_is_folded_behind_commas_and_nothing_is_lost(score: float, names: list[str]) -> None:
    value = result(score, *names).summary
    lines = value.split("\n\t")
    assert all(len(line) <= 76 for line in lines)
    assert all(line.endswith((",", ")")) for line in lines[:-1])
    assert "".join(lines).rpartition(")")[2].strip() == ",".join(names)
