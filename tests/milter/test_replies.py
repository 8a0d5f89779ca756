# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts to libmilter's return codes and reply words."""

from __future__ import annotations

import milter
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import answers
from defang_common.wire.results import Bounce, Discard, Tempfail
from defang_milter import replies
from defang_milter.replies import MAX_LINE_BYTES, MAX_LINES, Reply


def _refusal(code: str, dsn: str, *lines: str) -> Reply:
    return Reply(status=milter.REJECT if code[0] == "5" else milter.TEMPFAIL, code=code, dsn=dsn, lines=lines)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"ok 0 no 550 5.1.1 0\n", _refusal("550", "5.1.1", "no")),
        (b"ok 0 msg\n", _refusal("554", "5.7.1", "msg")),
        (b"ok 0 msg 450 4.1.1 0\n", _refusal("554", "5.7.1", "msg")),
        (b"ok 0 ? 554 5.7.1 0\n", _refusal("554", "5.7.1", "?")),
        (b"ok 0  554 5.7.1 0\n", _refusal("554", "5.7.1", "Forbidden for policy reasons")),
        (b"ok 0 bad%zzhex%4 554 5.7.1 0\n", _refusal("554", "5.7.1", "bad%%zzhex%%4")),
        (b"ok 0 ctl%01%7f%09%e9 554 5.7.1 0\n", _refusal("554", "5.7.1", "ctl    ")),
        (b"ok 0 multi%0Aline%0d%0Atwo%25x 550 5.7.2 0\n", _refusal("550", "5.7.2", "multi", "line ", "two%%x")),
        (b"ok 0\n", Reply(status=milter.REJECT)),
        (b"ok -1 later 450 4.1.1 1\n", _refusal("450", "4.1.1", "later")),
        (b"ok -1\n", Reply(status=milter.TEMPFAIL)),
        (b"ok 1\n", Reply(status=milter.CONTINUE)),
        (b"ok 1 msg 550 5.1.1 0\n", Reply(status=milter.CONTINUE)),
        (b"ok 2\n", Reply(status=milter.ACCEPT)),
        (b"ok 3\n", Reply(status=milter.DISCARD)),
    ],
)
def test_an_answer_becomes_the_reply_that_the_original_gives(answer: bytes, reply: Reply) -> None:
    assert replies.of_answer(answers.decode(answer)) == reply


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"ok 0 no 550 5.1.1 9\n", milter.REJECT),
        (b"ok -1 no 450 4.1.1 9\n", milter.TEMPFAIL),
        (b"ok 1\n", milter.CONTINUE),
        (b"ok 2\n", milter.ACCEPT),
        (b"ok 3\n", milter.DISCARD),
    ],
)
def test_at_connect_only_the_status_counts(answer: bytes, status: int) -> None:
    assert replies.of_answer_at_connect(answers.decode(answer)) == Reply(status=status)


@pytest.mark.parametrize(
    ("verdict", "reply"),
    [
        (Bounce(), _refusal("554", "5.7.1", "Forbidden for policy reasons")),
        (Bounce(code=b"550", dsn=b"5.7.1", text=b"a\n\nb\n"), _refusal("550", "5.7.1", "a", "", "b")),
        (Bounce(code=b"450", dsn=b"4.1.1", text=b"x"), _refusal("554", "5.7.1", "x")),
        (Tempfail(), _refusal("451", "4.3.0", "Please try again later")),
        (Tempfail(code=b"421", dsn=b"4.3.2", text=b"x"), _refusal("421", "4.3.2", "x")),
        (Discard(), Reply(status=milter.DISCARD)),
    ],
)
def test_a_verdict_becomes_a_reply(verdict: Bounce | Tempfail | Discard, reply: Reply) -> None:
    assert replies.of_verdict(verdict) == reply


def test_a_line_that_libmilter_refuses_is_divided() -> None:
    assert replies.lines_of(b"x" * 2000) == ("x" * 980, "x" * 980, "x" * 40)


def test_a_doubled_percent_sign_stays_in_one_line() -> None:
    lines = replies.lines_of(b"x" * 979 + b"%%y")
    assert lines == ("x" * 979, "%%%%y")


def test_line_feeds_past_the_last_line_become_blanks() -> None:
    text = b"\n".join(b"%d" % number for number in range(40))
    lines = replies.lines_of(text)
    assert len(lines) == MAX_LINES
    assert lines[-1] == " ".join(str(number) for number in range(30, 40))


@given(st.binary(max_size=5000))
def test_any_text_becomes_lines_that_libmilter_takes(text: bytes) -> None:
    lines = replies.lines_of(text)
    assert 1 <= len(lines) <= MAX_LINES
    for line in lines:
        assert len(line) <= MAX_LINE_BYTES
        assert all(" " <= char <= "~" for char in line)
        assert "%" not in line.replace("%%", "")


def test_a_fault_of_ours_is_a_temporary_failure() -> None:
    assert replies.of_fault("later") == _refusal("451", "4.3.0", "later")
