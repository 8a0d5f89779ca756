# SPDX-License-Identifier: GPL-3.0-or-later
"""File names in encoded words: the quick way to read them tells the same as the thorough one."""

import base64
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from defang_worker.mime import parse, readings
from defang_worker.mime.field_checks import field_findings
from defang_worker.mime.fields import word_readings
from defang_worker.mime.readings import texts, usual_parameters, with_any_word
from defang_worker.mime.views import examine

HARMLESS = ["größe.pdf", "a b.exe", "日本.txt", "x.exe", ".", "a_b-c"]
# What would be more than text if it stood in the field itself, and what is taken off a name.
SPECIAL = [
    'a"b',
    "a;b=c.exe",
    'a"; filename="x.exe',
    " a ",
    "“q”",
    "a\nb",
    "=?utf-8?q?z?=",
    "a'b'",
    "(c)",
    "a\\b",
    "",
    "\x00",
]
CHARSETS = ["utf-8", "UTF-8*en", "iso-8859-1", "utf-7", "utf-16-le", "shift_jis", "unknown"]


def word(text: str, charset: str, *, is_base64: bool) -> bytes:
    try:
        data = text.encode(charset.partition("*")[0])
    except (LookupError, UnicodeEncodeError):
        data = text.encode()
    coded = base64.b64encode(data) if is_base64 else b"".join(b"=%02X" % byte for byte in data)
    return b"=?%b?%b?%b?=" % (charset.encode(), b"B" if is_base64 else b"q", coded)


WORDS = st.builds(word, st.sampled_from(HARMLESS * 3 + SPECIAL), st.sampled_from(CHARSETS), is_base64=st.booleans())
PIECES = st.lists(st.one_of(WORDS, WORDS, WORDS, st.sampled_from([b"a.exe", b" ", b"=?", b"?=", b"x?"])), max_size=3)
VALUES = st.builds(lambda pieces, form: form % b"".join(pieces), PIECES, st.sampled_from([b'"%b"'] * 9 + [b"%b"]))
NAMES = st.sampled_from([b"filename", b"name", b"Filename", b"filename*0", b"charset", b"boundary"])
PARAMETERS = st.builds(
    b"%b%b=%b".__mod__, st.tuples(st.sampled_from([b";", b"; ", b";\n ", b";\r\n\t"]), NAMES, VALUES)
)
FIELDS = st.builds(
    lambda main, parameters: main + b"".join(parameters),
    st.sampled_from([b" attachment", b" application/pdf"]),
    st.lists(PARAMETERS, min_size=1, max_size=3),
)
USUAL = b' attachment; filename="=?utf-8?B?Z3LDtsOfZS5wZGY=?="'


def read_thoroughly(raw: bytes) -> tuple[list[str], ...]:
    readings._remembered.cache_clear()
    try:
        with patch.object(readings, "_with_plain_words", return_value=None):
            return tuple(texts(raw, name) for name in ("filename", "name"))
    finally:
        readings._remembered.cache_clear()


@given(FIELDS)
@example(USUAL)
def test_names_are_the_same_whichever_way_they_are_read(raw: bytes) -> None:
    assert tuple(texts(raw, name) for name in ("filename", "name")) == read_thoroughly(raw)


@given(FIELDS)
@example(USUAL)
def test_what_is_wrong_with_a_field_does_not_depend_on_what_its_word_says(raw: bytes) -> None:
    for field in ("content-disposition", "content-type"):
        assert set(field_findings(field, with_any_word(raw))) == set(field_findings(field, raw))


def test_the_usual_name_takes_the_quick_way() -> None:
    assert readings._with_plain_words(USUAL) == usual_parameters(USUAL)
    assert with_any_word(USUAL) == b' attachment; filename="=?utf-8?q?x?="'


def test_a_word_that_says_a_parameter_has_every_reading() -> None:
    raw = b' attachment; filename="' + word('a.txt"; filename="x.exe', "utf-8", is_base64=True) + b'"'
    assert "x.exe" in texts(raw, "filename")


def conflicts(disposition: bytes, content_type: bytes) -> bool:
    message = b"MIME-Version: 1.0\nContent-Type: a/b%b\nContent-Disposition: attachment%b\n\nx\n"
    defects = examine(parse(message % (content_type, disposition))).defects
    return "conflicting-names" in {defect.name for defect in defects}


def test_names_conflict_by_what_the_words_say() -> None:
    one, same, other = (
        word(text, "utf-8", is_base64=is_base64)
        for text, is_base64 in (("ä.txt", True), ("ä.txt", False), ("x.exe", True))
    )
    assert not conflicts(b'; filename="%b"' % one, b'; name="%b"' % one)
    assert not conflicts(b'; filename="%b"' % one, b'; name="%b"' % same)
    assert conflicts(b'; filename="%b"' % one, b'; name="%b"' % other)
    assert conflicts(b"; filename*0=a%20b", b"; name*=a%20b")


@pytest.mark.parametrize(
    "value",
    [
        b"=?UTF-16?B?AHgALgBlAHgAZQ==?=",
        b"=?utf-16?B?eAAuAGUAeABlAA==?=",
        b"=?utf-16le?B?AHgALgBlAHgAZQ==?=",
        b"=?utf-8?b?eC5?= =?utf-8?b?leGU=?=",
        b"=?utf-8?b?eC5l?= =?utf-8?b?eG?= =?utf-8?B?U=?=",
        b"=?utf-8?b?e?=\r\n =?utf-8?b?C5?= =?utf-8?B?leGU=?=",
    ],
)
def test_a_word_that_readers_take_differently_is_read_in_every_way(value: bytes) -> None:
    for parameter in (b'"%b"', b"%b"):
        field = b" attachment; filename=" + parameter % value
        assert "x.exe" in texts(field, "filename")
        assert "x.exe" in read_thoroughly(field)[0]


def test_words_that_are_whole_have_one_reading() -> None:
    for value in (
        b"=?utf-8?B?Z3LDtsOfZQ==?= =?utf-8?B?LnBkZg==?=",
        b"=?utf-8?B?Z3LD?= =?utf-8?B?tsOfZS5w?= =?utf-8?Q?df?=",
        b"=?utf-8?q?a?= =?utf-8?q?b?=",
    ):
        assert len(word_readings(value)) == 1
