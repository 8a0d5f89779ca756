# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfer encodings, sound and damaged."""

import base64
import binascii
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import parse
from defang_worker.mime.decode import decode_body, encoding_name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "7bit"),
        (b"", "7bit"),
        (b"Base64", "base64"),
        (b'"base64"', "base64"),
        (b"base64;", "base64"),
        (b"(really) base64", "base64"),
        (b"base 64", "base64"),
        (b"Quoted_Printable", "quoted-printable"),
        (b"x-uuencode", "uuencode"),
        (b"8BIT", "8bit"),
        (b"X-Base64", "x-base64"),
    ],
)
def test_encodings_are_known_however_they_are_spelled(value: bytes | None, name: str) -> None:
    assert encoding_name(value) == name


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"", b""),
        (b"aGVsbG8=", b"hello"),
        (b"aGVs\r\nbG8=\r\n\r\n", b"hello"),
        (b"aG!*Vs\nb\xffG8=\n", b"hello"),
        (b"aGVsbG8", b"hello"),
        (b"aGVsbG8hX", b"hello!"),
        (b"aGVsbG8=\nIHdvcmxk\n", b"hello world"),
        (b"aGVsbG8=IQ==", b"hello!"),
        (b"=aGVsbG8=", b"hello"),
        (b"aGVsbG8=\n-- \nSent by the list\n", b"hello"),
        (b"====", b""),
    ],
)
def test_base64(body: bytes, content: bytes) -> None:
    assert decode_body(body, "base64") == content


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"a=3Db", b"a=b"),
        (b"=4d=4D", b"MM"),
        (b"a=\nb=\r\nc", b"abc"),
        (b"a= \t\nb", b"ab"),
        (b"=G7=", b"=G7"),
        (b"a=\rhidden\nb", b"a=\rhidden\nb"),
    ],
)
def test_quoted_printable(body: bytes, content: bytes) -> None:
    assert decode_body(body, "quoted-printable") == content


def test_uuencode() -> None:
    lines = b"".join(binascii.b2a_uu(b"some words, %d\n" % number) for number in range(3))
    body = b"text\nbegin 644 a.exe\n" + lines + b"`\nend\nmore\n"
    assert decode_body(body, "uuencode") == b"some words, 0\nsome words, 1\nsome words, 2\n"
    assert decode_body(b"no file here", "uuencode") == b"no file here"


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "binary", "x-unknown"])
def test_other_encodings_change_nothing(encoding: str) -> None:
    assert decode_body(b"=3D\xff", encoding) == b"=3D\xff"


@given(st.binary(max_size=300))
def test_what_was_encoded_is_decoded(content: bytes) -> None:
    assert decode_body(base64.encodebytes(content), "base64") == content
    assert decode_body(quopri.encodestring(content), "quoted-printable") == content


@given(st.binary(max_size=300), st.sampled_from(["base64", "quoted-printable", "uuencode"]))
def test_any_bytes_are_decoded(body: bytes, encoding: str) -> None:
    assert isinstance(decode_body(b"begin 644 x\n" * (encoding == "uuencode") + body, encoding), bytes)


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        (b"utf-8", b"\xc3\xb6", "ö"),
        (b"iso-8859-1", b"\xf6", "ö"),
        (b"us-ascii", b"\xc3\xb6", "ö"),
        (b"utf-8", b"\xf6", "ö"),
        (b"x-nowhere", b"\xf6", "ö"),
    ],
)
def test_text_is_read_in_its_charset_or_guessed(charset: bytes, body: bytes, text: str) -> None:
    assert parse(b"Content-Type: text/plain; charset=" + charset + b"\n\n" + body).root.text == text
