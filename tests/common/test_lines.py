# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire.errors import LineTooLong
from defang_common.wire.lines import LineBuffer
from tests.common.feeding import in_three_ways, lines_of

LIMIT_BYTES = 8


@given(st.lists(st.binary(max_size=LIMIT_BYTES).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))))
def test_lines_arrive_whole_however_they_are_fed(lines: list[bytes]) -> None:
    for end in (b"\n", b"\r\n"):
        data = b"".join(line + end for line in lines)
        assert in_three_ways(data, LIMIT_BYTES) == [lines] * 3


@given(st.lists(st.binary(max_size=12)))
def test_any_pieces_give_the_lines_of_their_sum_or_line_too_long(pieces: list[bytes]) -> None:
    *whole, rest = b"".join(pieces).split(b"\n")
    expected = [line.removesuffix(b"\r") for line in whole]
    fits = all(len(line) <= LIMIT_BYTES for line in expected) and len(rest) <= LIMIT_BYTES + 1
    if fits:
        assert lines_of(pieces, LIMIT_BYTES) == expected
    else:
        with pytest.raises(LineTooLong):
            lines_of(pieces, LIMIT_BYTES)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_longest_line_passes_and_one_byte_more_does_not(end: bytes) -> None:
    longest = b"x" * LIMIT_BYTES
    assert in_three_ways(longest + end, LIMIT_BYTES) == [[longest]] * 3
    for pieces in ([longest + b"x" + end], [bytes((byte,)) for byte in longest + b"x" + end]):
        with pytest.raises(LineTooLong):
            lines_of(pieces, LIMIT_BYTES)


def test_line_over_the_limit_is_known_before_it_ends() -> None:
    with pytest.raises(LineTooLong):
        lines_of([b"x" * (LIMIT_BYTES + 2)], LIMIT_BYTES)


def test_only_one_carriage_return_belongs_to_the_line_end() -> None:
    assert lines_of([b"a\r\r\nb\rc\n"], LIMIT_BYTES) == [b"a\r", b"b\rc"]


def test_lines_before_one_that_is_too_long_are_handed_out() -> None:
    buffer = LineBuffer(LIMIT_BYTES)
    buffer.feed(b"one\n" + b"x" * 20)
    assert buffer.next_line() == b"one"
    with pytest.raises(LineTooLong):
        buffer.next_line()


def test_rest_is_what_follows_the_lines_handed_out_and_stays() -> None:
    buffer = LineBuffer(LIMIT_BYTES)
    buffer.feed(b"one\ntwo\nthr")
    assert buffer.next_line() == b"one"
    assert buffer.rest() == b"two\nthr"
    assert buffer.next_line() == b"two"
    assert buffer.next_line() is None
    assert buffer.rest() == b"thr"
