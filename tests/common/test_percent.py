# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import percent

WORD = re.compile(rb"(?:[!#$&()-\[\]-~]|%[0-9A-F]{2})*")
WORD_OF_COMMANDS = re.compile(rb"(?:[!-$&-~]|%[0-9A-F]{2})*")


@given(st.binary())
def test_any_bytes_come_back_from_a_word(raw: bytes) -> None:
    word = percent.encode(raw)
    assert WORD.fullmatch(word)
    assert percent.decode(word) == raw


@given(st.binary())
def test_any_bytes_come_back_from_a_word_of_commands(raw: bytes) -> None:
    word = percent.encode_for_commands(raw)
    assert WORD_OF_COMMANDS.fullmatch(word)
    assert percent.decode(word) == raw


@given(st.binary())
def test_decoding_any_bytes_leaves_what_is_no_escape(word: bytes) -> None:
    expected = b""
    rest = word
    while rest:
        if re.match(rb"%[0-9A-Fa-f]{2}", rest):
            expected += bytes.fromhex(rest[1:3].decode())
            rest = rest[3:]
        else:
            expected += rest[:1]
            rest = rest[1:]
    assert percent.decode(word) == expected


def test_observed_helo_is_written_as_the_original_writes_it() -> None:
    assert percent.encode(b"a b%\\'\"\x01\xe9~!") == b"a%20b%25%5C%27%22%01%E9~!"


def test_quotes_and_backslash_stay_raw_in_commands() -> None:
    assert percent.encode_for_commands(b"AES\"x\\y%z' ") == b"AES\"x\\y%25z'%20"


@pytest.mark.parametrize("word", [b"%", b"%4", b"%zz", b"%%", b"%g0", b"100%", b"%+1", b"% 1"])
def test_percent_without_two_hex_digits_stays(word: bytes) -> None:
    assert percent.decode(word) == word


@pytest.mark.parametrize(
    ("word", "raw"),
    [(b"%e9%E9", b"\xe9\xe9"), (b"%%41", b"%A"), (b"%2541", b"%41"), (b"a%00b", b"a\0b"), (b"%4%41", b"%4A")],
)
def test_escapes_of_either_case_are_decoded_once(word: bytes, raw: bytes) -> None:
    assert percent.decode(word) == raw
