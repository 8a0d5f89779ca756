# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured fields: parameters, their encodings, and what careless or hostile senders make of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import decode_words, parse_field
from defang_worker.mime.fields import without_pairs
from defang_worker.mime.headers import strip_comments
from defang_worker.mime.readings import texts


def names(value: bytes) -> list[str]:
    return parse_field(value).texts("filename")


@pytest.mark.parametrize("code", [b"+2AA-", b"+3AA-", b"+3P8-"])
def test_half_a_character_of_utf_7_is_read_as_a_mark_for_it(code: bytes) -> None:
    assert decode_words(b"=?utf-7?q?a" + code + b"?=") == "a\ufffd"
    assert names(b"a; filename*=utf-7''a" + code.replace(b"+", b"%2B"))[0] == "a\ufffd"


def test_value_and_parameters_are_taken_apart() -> None:
    field = parse_field(b'Attachment; FileName="a b.txt"; size=12')
    assert field.value == "attachment"
    assert [(parameter.name, parameter.value) for parameter in field.parameters] == [
        ("filename", b"a b.txt"),
        ("size", b"12"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"attachment; filename=a.exe", ["a.exe"]),
        (b'attachment; filename="a.exe"', ["a.exe"]),
        (b'attachment filename="a.exe"', ["a.exe"]),
        (b'attachment;; ;filename="a.exe";', ["a.exe"]),
        (b'attachment, filename="a.exe"', ["a.exe"]),
        (b'filename="a.exe"', ["a.exe"]),
        (b'attachment; filename = "a.exe"', ["a.exe"]),
        (b"attachment; filename\t=\ta.exe", ["a.exe"]),
        (b"attachment; filename=my file.exe; size=1", ["my file.exe"]),
        (b"attachment; filename=a.txt filename=b.exe", ["a.txt", "b.exe"]),
        (b'attachment; filename="a.txt"; filename="b.exe"', ["a.txt", "b.exe"]),
        (b'attachment; size=1 filename="a.exe"', ["a.exe"]),
        (b'attachment; filename="a.exe', ["a.exe"]),
        (b'attachment; filename=a.exe"', ["a.exe"]),
        (b'attachment; filename="a;b.exe"', ["a;b.exe"]),
        (b'attachment; filename="the \\"new\\" plan.pdf"', ['the "new" plan.pdf']),
        (b'attachment; filename="c:\\dir\\a.exe"', ["c:dira.exe", "c:\\dir\\a.exe"]),
        (b"attachment; filename='a.exe'", ["'a.exe'", "a.exe"]),
        (b'attachment; filename="a.exe"tail; size=1', ["a.exe"]),
        (b"attachment; filename=", [""]),
        (b"attachment; filename", []),
        (b"", []),
    ],
)
def test_plain_values(value: bytes, expected: list[str]) -> None:
    assert names(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a; filename*=utf-8''bl%C3%B6d.exe", ["blöd.exe"]),
        (b"a; filename*=iso-8859-1'de'bl%F6d.exe", ["blöd.exe"]),
        (b"a; filename*=x-nowhere''a%2Eexe", ["a.exe"]),
        (b"a; filename*=utf-8'a%2Eexe", ["a.exe"]),
        (b"a; filename*=a%2Eexe", ["a.exe"]),
        (b"a; filename*=utf-7''a+AC4-exe", ["a.exe", "a+AC4-exe"]),
        (b"a; filename*=utf-8''100%", ["100%"]),
        (b'a; filename*0="a."; filename*1="exe"', ["a.exe"]),
        (b"a; filename*0*=utf-8''%C3; filename*1*=%B6.; filename*2=exe", ["ö.exe"]),
        (b"a; filename*0=a; filename*2=.exe", ["a.exe", "a"]),
        (b"a; filename*1=exe; filename*0=a.", ["a.exe", "exea."]),
        (b"a; filename*0=a; filename*1=.txt; filename*1=.exe", ["a.txt", "a.exe", "a.txt.exe"]),
        (b"a; filename=plain.txt; filename*=utf-8''a.exe", ["a.exe", "plain.txt"]),
    ],
)
def test_extended_values_and_continuations(value: bytes, expected: list[str]) -> None:
    assert names(value) == expected


def test_an_encoded_word_is_a_name_decoded_and_as_written() -> None:
    assert names(b'a; filename="=?UTF-8?B?YS5leGU=?="') == ["a.exe", "=?UTF-8?B?YS5leGU=?="]


@pytest.mark.parametrize(("value", "expected"), [(b"bl\xc3\xb6d", "blöd"), (b"bl\xf6d", "blöd"), (b"\x81", "\x81")])
def test_bytes_above_127_are_utf_8_or_else_western(value: bytes, expected: str) -> None:
    assert names(b"a; filename=" + value) == [expected]


def test_readings_with_and_without_comments_are_both_taken() -> None:
    assert names(b'attachment (; filename="a.txt"); filename(x)="b.exe"') == ["b.exe", "a.txt"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a (b (c) d) e", b"a   e"),
        (b'"(a)" b', b'"(a)" b'),
        (b"(a\\)b) c", b"c"),
        (b'(it"s) c', b"c"),
        (b"a (b", b"a (b"),
        (b"a) b", b"a) b"),
    ],
)
def test_comments(value: bytes, expected: bytes) -> None:
    assert strip_comments(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?q?a_b=C3=B6?= c", "a bö c"),
        (b"=?utf-8?b?w7Y=?= =?utf-8?b?w7Y=?=", "öö"),
        (b"=?utf-8?b?ww==?=\t=?utf-8?b?tg==?=", "ö"),
        (b"=?utf-8*en?q?x?=", "x"),
        (b"=?utf-8?b?YWJ?=", "ab"),
        (b"=?utf-8?b?YWJjZ?=", "abc"),
        (b"=?x?z?x?=", "=?x?z?x?="),
        (b"=?x?b?a ?=b", "b"),
        (b"=?iso-8859-1?q?=F6?= =?utf-8?q?=C3=B6?=", "öö"),
    ],
)
def test_encoded_words(value: bytes, expected: str) -> None:
    assert decode_words(value) == expected


@pytest.mark.parametrize("charset", ["idna", "rot13", "unicode_escape", "zlib", "../x", "a" * 50, "raw-unicode-escape"])
def test_codecs_that_no_mail_means_are_not_used(charset: str) -> None:
    assert decode_words(b"=?" + charset.encode() + b"?q?a\\u0041?=")[-7:] == "a\\u0041"


@given(st.binary(max_size=200))
def test_any_value_is_read(value: bytes) -> None:
    field = parse_field(value)
    assert all(isinstance(text, str) for parameter in field.parameters for text in field.texts(parameter.name))
    assert isinstance(decode_words(value), str)


@given(st.lists(st.sampled_from([b"=?utf-8?q?", b"=?x?b?", b"?=", b"a", b" ", b"=", b"YWJj", b"\xff", b"=C3"])))
def test_any_run_of_encoded_words_is_read(words: list[bytes]) -> None:
    assert isinstance(decode_words(b"".join(words)), str)


@given(st.lists(st.sampled_from([b"\\", b'"', b"a", b"\n"])))
def test_quoted_pairs_are_resolved_from_left_to_right(pieces: list[bytes]) -> None:
    quoted = b"".join(pieces)
    assert without_pairs(quoted, b"") == re.sub(rb"(?s)\\(.)", rb"\1", quoted)
    assert without_pairs(quoted, b'"') == re.sub(rb'\\(["\\])', rb"\1", quoted)


@pytest.mark.parametrize("spelled", ["filename *=utf-8''x%2Eexe", "filename\t*0*=utf-8''x%2E; filename *1=exe"])
def test_blanks_before_the_star_of_a_name_count_as_none(spelled: str) -> None:
    assert "x.exe" in texts(f" attachment; {spelled}".encode(), "filename")
