# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes to the text that pymilter's setters take, and macros the other way."""

from __future__ import annotations

from email.header import decode_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_milter import macros
from defang_milter.context import header_text, plain_text, remark_text
from tests.milter.conftest import FakeContext


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_text_in_utf_8_stays_as_it_is(text: str) -> None:
    assert plain_text(text.encode()) == header_text(text.encode()) == remark_text(text.encode()) == text


def test_a_nul_ends_the_text() -> None:
    assert plain_text(b"a\0b") == header_text(b"a\0b") == remark_text(b"a\0b") == "a"


def test_an_address_that_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        plain_text(b"\xff@example.com")


def test_a_remark_has_marks_for_what_is_not_utf_8() -> None:
    assert remark_text(b"a\xffb") == "a\ufffdb"


@given(st.binary(max_size=300))
def test_a_header_value_becomes_text_of_short_words(value: bytes) -> None:
    text = header_text(value)
    text.encode()
    if text.isascii() and not value.partition(b"\0")[0].isascii():
        assert all(len(word) <= 75 for word in text.split() if word.startswith("=?unknown-8bit?"))


def test_the_bytes_of_a_value_can_be_had_back() -> None:
    raw = b"\xe9" * 100
    text = header_text(b"plain " + raw + b" end")
    parts = decode_header(text)
    encoded = b"".join(word for word, charset in parts if charset == "unknown-8bit" and isinstance(word, bytes))
    assert encoded == raw
    assert text.startswith("plain =?")
    assert text.endswith("?= end")


def test_only_known_macros_are_told_and_empty_ones_are_known() -> None:
    context = FakeContext(macros={"i": b"Q1", "{auth_type}": b"", "{cipher}": b"\xe9\xff"})
    told = dict(macros.known(context, macros.named(macros.ALWAYS_TOLD)))
    assert told == {b"i": b"Q1", b"auth_type": b"", b"cipher": b"\xe9\xff"}
    assert list(told) == [b"auth_type", b"cipher", b"i"]


def test_an_unknown_macro_is_empty() -> None:
    assert macros.value_of(FakeContext(), "i") == b""


def test_the_macros_are_those_that_the_original_tells_in_its_order() -> None:
    assert (
        tuple(
            "_ auth_authen auth_author auth_ssf auth_type cert_issuer cert_subject cipher cipher_bits daemon_name"  # noqa: SIM905
            " daemon_port i if_addr if_name j mail_addr mail_host mail_mailer tls_version verify rcpt_addr rcpt_host"
            " rcpt_mailer".split()
        )
        == macros.ALWAYS_TOLD
    )
