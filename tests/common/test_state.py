# SPDX-License-Identifier: GPL-3.0-or-later
"""The state's word on requests and answers: put on, taken off, and never taken for something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import requests
from defang_common.wire.errors import Malformed
from defang_common.wire.state import (
    MAX_VALUE_BYTES,
    MAX_WORD_BYTES,
    Carried,
    split,
    values,
    wants_results,
    with_changes,
    without_wish,
)

SCAN = b"scan Q1 /spool/mdefang-Q1"
ANSWER = b"ok 1 ok 250 2.1.0 0\n"
_ANY = st.binary(max_size=300)
_CHANGE = st.none() | _ANY


@given(session=_ANY, message=_ANY, changed_session=_CHANGE, changed_message=_CHANGE)
def test_what_a_worker_changes_comes_with_the_next_request(
    session: bytes, message: bytes, changed_session: bytes | None, changed_message: bytes | None
) -> None:
    carried = Carried()
    assert carried.from_answer(with_changes(ANSWER, session, message)) == ANSWER
    plain, word = split(carried.on_request(SCAN + b"\n").removesuffix(b"\n"))
    assert plain == SCAN
    assert values(word) == (session, message)
    assert carried.from_answer(with_changes(ANSWER, changed_session, changed_message)) == ANSWER
    _, word = split(carried.on_request(SCAN + b"\n").removesuffix(b"\n"))
    assert values(word) == (
        session if changed_session is None else changed_session,
        message if changed_message is None else changed_message,
    )


def test_an_empty_state_takes_three_bytes() -> None:
    assert Carried().on_request(SCAN + b"\n") == SCAN + b' ""\n'
    assert with_changes(b"ok\n", None, None) == b"ok\n"


@given(session=_ANY, message=_ANY)
def test_the_wish_for_results_ends_the_word_and_can_be_taken_off(session: bytes, message: bytes) -> None:
    carried = Carried()
    carried.from_answer(with_changes(ANSWER, session, message))
    plain, wishing = (
        carried.on_request(SCAN + b"\n", wants_results=wish).removesuffix(b"\n") for wish in (False, True)
    )
    for line in (plain, wishing):
        word = split(line)[1]
        assert values(word) == (session, message)
        assert wants_results(word) == (line is wishing)
        assert without_wish(line, word) == plain


def test_the_longest_state_fits_its_limit() -> None:
    carried = Carried()
    longest = b"\xff" * MAX_VALUE_BYTES
    assert carried.from_answer(with_changes(b"ok\n", longest, longest)) == b"ok\n"
    _, word = split(carried.on_request(SCAN + b"\n", wants_results=True).removesuffix(b"\n"))
    assert len(word) <= MAX_WORD_BYTES
    assert values(word) == (longest, longest)


def test_a_longer_state_is_refused_at_either_end() -> None:
    longer = b"\xff" * (MAX_VALUE_BYTES + 3)
    carried = Carried()
    with pytest.raises(Malformed):
        carried.from_answer(with_changes(b"ok\n", longer, b"\xff" * MAX_VALUE_BYTES))
    assert carried.session == b""
    with pytest.raises(Malformed):
        values(b' "' + b"A" * MAX_WORD_BYTES + b'"')


@pytest.mark.parametrize("line", [b"free", b'greet "Bob"', b'map "a" "b"', b'tick ""', b'say ""', b"scan Q1 /d"])
def test_other_lines_have_no_state(line: bytes) -> None:
    assert split(line) == (line, b"")


@given(words=st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_no_word_of_a_client_passes_for_state(words: list[str]) -> None:
    request = requests.SenderOk(
        sender=b"<a@b>", ip=b"", name=b"", helo=b' ""', directory=b"/d", queue_id=b"Q",
        esmtp_args=tuple(word.encode() for word in words),
    )  # fmt: skip
    line = requests.encode(request).removesuffix(b"\n")
    assert split(line) == (line, b"")


@pytest.mark.parametrize(
    "word", [b' "', b' "x', b' "a"b"c', b' "a!"', b' "a" "b"', b' "-"-', b' """"', b' "a"b ', b' "=a"', b' "a"\n']
)
def test_a_word_that_cannot_be_read_is_malformed(word: bytes) -> None:
    with pytest.raises(Malformed):
        values(split(SCAN + word)[1])
    carried = Carried()
    if word != b' "-"-':
        with pytest.raises(Malformed):
            carried.from_answer(b"ok" + word + b"\n")
    assert (carried.session, carried.message) == (b"", b"")


def test_base64_that_is_none_is_malformed() -> None:
    with pytest.raises(Malformed):
        values(b' "A"')


def test_an_error_line_with_quotation_marks_is_no_state() -> None:
    carried = Carried()
    line = b'error: scan failed: no "x" in "y"z\n'
    assert carried.from_answer(line) == line
