# SPDX-License-Identifier: GPL-3.0-or-later
"""Netstrings, however they are cut on their way, and what is none."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire.errors import Malformed
from defang_mux.sockets.netstrings import MAX_BYTES, Netstrings, NoComma, encode


def read(*pieces: bytes) -> list[bytes]:
    incoming, found = Netstrings(), []
    for piece in pieces:
        incoming.feed(piece)
        while (content := incoming.next()) is not None:
            found.append(content)
    return found


@given(contents=st.lists(st.binary(max_size=40), max_size=5), cuts=st.lists(st.integers(0, 250), max_size=5))
def test_what_was_put_in_comes_out_however_it_is_cut(contents: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(map(encode, contents))
    edges = [0, *sorted(cuts), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(edges)]
    assert read(*pieces) == contents
    assert read(*(whole[at : at + 1] for at in range(len(whole)))) == contents


def test_the_longest_is_taken() -> None:
    assert read(encode(b"x" * MAX_BYTES)) == [b"x" * MAX_BYTES]


@pytest.mark.parametrize(
    "data", [b":", b"x", b"-1:", b"1x:", b" 3:a b,", b"65537:", b"9" * 16, b"1\xb2:a,", b"\n3:a b,"]
)
def test_what_has_no_good_length_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)


def test_a_missing_comma_is_told_apart() -> None:
    with pytest.raises(NoComma):
        read(b"3:a b;")


@given(data=st.binary(max_size=60))
def test_any_bytes_are_netstrings_or_malformed(data: bytes) -> None:
    try:
        read(data)
    except Malformed:
        return
