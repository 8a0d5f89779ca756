# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes to text and back; other than ASCII in header values as RFC 2047 wants it."""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.api.words import address_bytes, header_value, to_bytes, to_text, unfolded
from defang_worker.mime.fields import decode_words


@given(st.binary())
def test_any_bytes_survive_as_text(raw: bytes) -> None:
    assert to_bytes(to_text(raw)) == raw


_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], include_characters=" "), max_size=200)


@given(_TEXTS)
def test_text_is_read_back_as_it_was_written(text: str) -> None:
    words = " ".join(text.split())
    value = header_value(words)
    assert value.isascii()
    if "=?" not in words:
        assert decode_words(unfolded(value).encode()) == words
        assert str(make_header(decode_header(unfolded(value)))) == words


@pytest.mark.parametrize("space", ["\xa0", "\x85", "\u2028", "\u3000"])
def test_spaces_other_than_a_blank_are_encoded_with_their_word(space: str) -> None:
    value = header_value(f"Offer: 5{space}EUR  today")
    assert value.isascii()
    assert decode_words(value) == f"Offer: 5{space}EUR  today"


def test_text_with_half_a_character_is_written_with_a_mark_in_its_place() -> None:
    assert to_bytes("a\ud800b\udfff\udcff") == "a\ufffdb\ufffd".encode() + b"\xff"


@given(_TEXTS)
def test_no_encoded_word_is_longer_than_allowed(text: str) -> None:
    value = header_value(text)
    assert all(len(word) <= 75 for word in value.split() if word.startswith(b"=?") and b"=?" not in text.encode())


def test_words_of_ascii_stay_as_they_are() -> None:
    assert header_value("Jürgen <j@example.com>") == b"=?utf-8?b?SsO8cmdlbg==?= <j@example.com>"


def test_bytes_that_are_no_text_are_copied() -> None:
    assert header_value(to_text(b"caf\xe9")) == b"caf\xe9"


@pytest.mark.parametrize("address", ["", "a\nb", "a\0", "<a@b>\r"])
def test_address_that_no_mta_could_take_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="no envelope address"):
        address_bytes(address)
