# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of a peer as text in a log line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.shown import MAX_CHARACTERS, shown


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"error: No free workers", "error: No free workers"),
        ("caf\u00e9".encode(), "caf\u00e9"),
        (b"caf\xe9", "caf\\xe9"),
        (b"a\nb\tc\0", "a\\nb\\tc\\x00"),
        ("\u202egpj\u2028".encode(), "\\u202egpj\\u2028"),
    ],
)
def test_bytes_are_shown_as_people_write_them(raw: bytes, text: str) -> None:
    assert shown(raw) == text


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert shown(b"x" * MAX_CHARACTERS) == "x" * MAX_CHARACTERS
    assert shown(b"x" * (MAX_CHARACTERS + 1)) == "x" * MAX_CHARACTERS + "..."
    assert shown("\U0001f600".encode() * 9, most=3) == "\U0001f600" * 3 + "..."


@given(st.binary())
def test_any_bytes_are_one_printable_line_of_bounded_length(raw: bytes) -> None:
    text = shown(raw, most=10)
    assert text.isprintable()
    assert len(text) <= 13
