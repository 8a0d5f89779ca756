# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import answers
from defang_common.wire.answers import Answer, Verdict, answer
from defang_common.wire.errors import Malformed
from defang_common.wire.lines import MAX_ANSWER_LINE_BYTES

VERDICTS = st.sampled_from(list(Verdict))
ANY_ANSWER = st.builds(
    answer,
    VERDICTS,
    st.binary(max_size=60),
    st.one_of(st.from_regex(rb"[245]\d\d", fullmatch=True), st.binary(max_size=4)),
    st.one_of(st.from_regex(rb"[245]\.\d{1,3}\.\d{1,3}", fullmatch=True), st.binary(max_size=6)),
    st.integers(0, 999_999_999),
)

REJECT = (Verdict.REJECT, b"554", b"5.7.1", 0)
LATER = (Verdict.TEMPFAIL, b"451", b"4.3.0", 0)


@given(ANY_ANSWER)
def test_any_answer_comes_back_from_its_line(what: Answer) -> None:
    line = answers.encode(what)
    assert answers.decode(line) == what
    assert line.index(b"\n") == len(line) - 1 <= MAX_ANSWER_LINE_BYTES
    # The newline is wanted by the short forms only.
    for end in (b"", b"\n", b"\r\n"):
        assert answers.decode(line[:-1] + end) == what


@given(st.one_of(st.binary(), st.binary().map(lambda tail: b"ok 0 " + tail)))
def test_any_reply_is_an_answer_or_malformed(reply: bytes) -> None:
    for decode in (answers.decode, answers.decode_free):
        try:
            decode(reply)
        except Malformed:
            continue


@given(st.binary(max_size=answers.MAX_RESULTS_ON_ANSWER_BYTES))
def test_any_results_come_back_from_an_answer_that_is_no_longer_than_others(lines: bytes) -> None:
    line = answers.encode_results(lines)
    assert answers.decode_scan(line) == lines
    assert line.index(b"\n") == len(line) - 1 <= MAX_ANSWER_LINE_BYTES
    with pytest.raises(Malformed):
        answers.decode(line)


def test_the_longest_results_fill_an_answer() -> None:
    most = b"x" * answers.MAX_RESULTS_ON_ANSWER_BYTES
    assert MAX_ANSWER_LINE_BYTES - 4 < len(answers.encode_results(most)) - 1 <= MAX_ANSWER_LINE_BYTES


@given(st.one_of(st.binary(), st.binary().map(lambda tail: b"ok '" + tail)))
def test_any_other_answer_to_a_scan_is_malformed(reply: bytes) -> None:
    try:
        lines = answers.decode_scan(reply)
    except Malformed:
        return
    assert reply == (answers.SCAN_OK if lines is None else answers.encode_results(lines))


@given(ANY_ANSWER)
def test_code_and_dsn_fit_the_verdict(what: Answer) -> None:
    digit = {Verdict.REJECT: b"5", Verdict.TEMPFAIL: b"4"}.get(what.verdict, b"2")
    assert what.code.startswith(digit)
    assert what.dsn.startswith(digit + b".")
    assert what.text


# (reply, verdict, text, code, DSN, delay), as the original front end takes them.
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"ok 0 no 550 5.1.1 0\n", (Verdict.REJECT, b"no", b"550", b"5.1.1", 0)),
        (b"ok 0 msg\n", (Verdict.REJECT, b"msg", b"554", b"5.7.1", 0)),
        (b"ok 0 msg 450 4.1.1 0\n", (Verdict.REJECT, b"msg", b"554", b"5.7.1", 0)),
        (b"ok 0 ? 554 5.7.1 0\n", (Verdict.REJECT, b"?", b"554", b"5.7.1", 0)),
        (b"ok 0  554 5.7.1 0\n", (Verdict.REJECT, b"Forbidden for policy reasons", b"554", b"5.7.1", 0)),
        (b"ok -1  451 4.3.0 0\n", (Verdict.TEMPFAIL, b"Please try again later", b"451", b"4.3.0", 0)),
        (b"ok 0 bad%zzhex%4 554 5.7.1 0\n", (Verdict.REJECT, b"bad%zzhex%4", b"554", b"5.7.1", 0)),
        (b"ok 0 ctl%01%7f%09%e9 554 5.7.1 0\n", (Verdict.REJECT, b"ctl\x01\x7f\t\xe9", b"554", b"5.7.1", 0)),
        (
            b"ok 0 multi%0Aline%0d%0Atwo%25x 550 5.7.2 0\n",
            (Verdict.REJECT, b"multi\nline\r\ntwo%x", b"550", b"5.7.2", 0),
        ),
        (b"ok -1 later 450 4.1.1 1\n", (Verdict.TEMPFAIL, b"later", b"450", b"4.1.1", 1)),
        (b"ok -1 later 421 4.1.1 1\n", (Verdict.TEMPFAIL, b"later", b"421", b"4.1.1", 1)),
        (b"ok 1 msg 550 5.1.1 0\n", (Verdict.CONTINUE, b"msg", b"250", b"2.1.0", 0)),
        (b"ok 1 slow 250 2.1.0 2\n", (Verdict.CONTINUE, b"slow", b"250", b"2.1.0", 2)),
        (b"ok 1 slow 250 2.1.0 2", (Verdict.CONTINUE, b"slow", b"250", b"2.1.0", 2)),
        (b"ok 1 ok 250 2.1.0 0\nextra\n", (Verdict.CONTINUE, b"ok", b"250", b"2.1.0", 0)),
        (b"ok 2 x%20y 251 2.9.9 5\n", (Verdict.ACCEPT, b"x y", b"251", b"2.9.9", 5)),
        (b"ok 0 m 521 5.123.456 0\n", (Verdict.REJECT, b"m", b"521", b"5.123.456", 0)),
        (b"ok 0 m 5555 5.1.1234 0\n", (Verdict.REJECT, b"m", b"554", b"5.7.1", 0)),
        (b"ok 0 m 55%30 5%2e1.1 0\n", (Verdict.REJECT, b"m", b"550", b"5.1.1", 0)),
        (b"ok 0 m 550%0A 5.1.1%0A 0\n", (Verdict.REJECT, b"m", b"554", b"5.7.1", 0)),
        (b"ok 0 m\t550\v5.1.1\f7 rest\n", (Verdict.REJECT, b"m", b"550", b"5.1.1", 7)),
        (b"ok 0 m 550 5.1.1 -3\n", (Verdict.REJECT, b"m", b"550", b"5.1.1", 0)),
        (b"ok 0 m 550 5.1.1 soon\n", (Verdict.REJECT, b"m", b"550", b"5.1.1", 0)),
        (
            b"ok -1 Per-domain%20recipok%20limit%20hit;%20please%20try%20again%20later\n",
            (Verdict.TEMPFAIL, b"Per-domain recipok limit hit; please try again later", b"451", b"4.3.0", 0),
        ),
        (b"ok -1 a%27b%22c%5Cd%25 450 4.1.1 3\n", (Verdict.TEMPFAIL, b"a'b\"c\\d%", b"450", b"4.1.1", 3)),
    ],
)
def test_reply_is_read_as_the_original_front_end_reads_it(
    reply: bytes, expected: tuple[Verdict, bytes, bytes, bytes, int]
) -> None:
    assert answers.decode(reply) == Answer(*expected)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_short_form_has_no_text(verdict: Verdict) -> None:
    found = answers.decode(b"ok %s\n" % verdict.encode())
    assert (found.verdict, found.text, found.delay_s) == (verdict, None, 0)


@pytest.mark.parametrize(
    "reply",
    [b"ok 7 msg\n", b"garbage", b"ok 1", b"ok 0", b"OK 1\n", b"ok  1\n", b"ok 1\nok 0\n", b"ok 1 \n", b"", b"\n",
     b"ok\n", b"ok 1\r\n", b" ok 1\n", b"ok 10\n", b"ok +1 a\n", b"ok -2 a\n", b"error: No free workers\n",
     b"ERR No response from worker\n", b"ok 01 a\n", b"ok\t1 a\n"],
)  # fmt: skip
def test_reply_that_the_original_front_end_defers_is_malformed(reply: bytes) -> None:
    with pytest.raises(Malformed):
        answers.decode(reply)


def test_answer_of_a_silent_worker_is_a_usual_one() -> None:
    assert answers.encode(answer(Verdict.CONTINUE)) == b"ok 1 ok 250 2.1.0 0\n"
    assert answers.encode(answer(Verdict.REJECT)) == b"ok 0 Forbidden%20for%20policy%20reasons 554 5.7.1 0\n"
    assert answers.encode(answer(Verdict.TEMPFAIL)) == b"ok -1 Please%20try%20again%20later 451 4.3.0 0\n"


def test_negative_delay_is_none() -> None:
    assert answer(Verdict.CONTINUE, delay_s=-5).delay_s == 0


@given(VERDICTS, st.binary(min_size=1300, max_size=1500), st.integers(0, 3000))
def test_answer_fits_a_line_whatever_its_text(verdict: Verdict, text: bytes, plain: int) -> None:
    line = answers.encode(answer(verdict, b"x" * plain + text))
    assert len(line) <= MAX_ANSWER_LINE_BYTES + 1
    found = answers.decode(line)
    assert found.verdict is verdict
    assert found.text
    assert (b"x" * plain + text).startswith(found.text)


@given(st.text())
def test_error_line_is_one_line_of_printable_ascii_whatever_its_text(text: str) -> None:
    line = answers.encode_error(text)
    assert line.startswith(b"error: ")
    assert line.endswith(b"\n")
    assert all(0x20 <= byte <= 0x7E for byte in line[:-1])
    assert len(line) <= MAX_ANSWER_LINE_BYTES + 1


@pytest.mark.parametrize(("reply", "number"), [(b"4\n", 4), (b"4", 4), (b" 12 and\n", 12), (b"0\n", 0), (b"-1\n", -1)])
def test_number_of_free_workers_needs_no_newline(reply: bytes, number: int) -> None:
    assert answers.decode_free(reply) == number


@pytest.mark.parametrize("reply", [b"", b"\n", b"four\n", b"error: No free workers\n", b"- 4\n", b"x4"])
def test_free_without_a_number_is_malformed(reply: bytes) -> None:
    with pytest.raises(Malformed):
        answers.decode_free(reply)
