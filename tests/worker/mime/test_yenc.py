# SPDX-License-Identifier: GPL-3.0-or-later
"""YEnc files in text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime.embedded import EmbeddedFile
from defang_worker.mime.yenc import decode, embedded_files

EVERY_BYTE = bytes(range(256))


def encode(content: bytes, line: int = 128) -> bytes:
    text = bytearray()
    column = 0
    for value in content:
        shifted = (value + 42) & 0xFF
        piece = bytes([0x3D, (shifted + 64) & 0xFF]) if shifted in b"\0\r\n=" else bytes([shifted])
        text += piece
        column += len(piece)
        if column >= line:
            text += b"\r\n"
            column = 0
    return bytes(text) + (b"\r\n" if column else b"")


def block(content: bytes, name: bytes = b"blocked.exe") -> bytes:
    size = b"%d" % len(content)
    return (
        b"=ybegin line=128 size="
        + size
        + b" name="
        + name
        + b"\r\n"
        + encode(content)
        + b"=yend size="
        + size
        + b"\r\n"
    )


def test_a_file_is_found_with_the_text_around_it() -> None:
    file = EmbeddedFile("yenc", ("blocked.exe",), EVERY_BYTE, 6, 6 + len(block(EVERY_BYTE)))
    assert list(embedded_files(b"Hello\n" + block(EVERY_BYTE) + b"Bye\n")) == [file]


def test_each_part_of_a_file_is_found() -> None:
    part = b"=ybegin part=%d total=2 line=128 size=6 name=my file.exe\r\n=ypart begin=1 end=3\r\n%b=yend part=%d\r\n"
    text = part % (1, encode(b"abc"), 1) + part % (2, encode(b"def"), 2)
    assert [(file.names, file.content) for file in embedded_files(text)] == [
        (("my file.exe",), b"abc"),
        (("my file.exe",), b"def"),
    ]


@pytest.mark.parametrize("tail", [b"", b"=ybegin line=128 size=1 name=other\r\n=yend\r\n"])
def test_the_end_may_be_missing(tail: bytes) -> None:
    text = block(b"words").rpartition(b"=yend")[0] + tail
    assert next(embedded_files(text)).content == b"words"


def test_names_are_spelled_with_and_without_quotes() -> None:
    assert next(embedded_files(block(b"x", b'"a b.exe" '))).names == ('"a b.exe"', "a b.exe")
    assert next(embedded_files(block(b"x", "größe".encode()))).names == ("größe",)


@pytest.mark.parametrize(
    "text", [b"", b"Use =ybegin to start\n", b" =ybegin line=128 size=1 name=a\n", b"=ybegin now, =yend then\n=yend\n"]
)
def test_text_that_only_names_the_words_is_no_file(text: bytes) -> None:
    assert list(embedded_files(text)) == []


@given(st.binary(max_size=300))
def test_what_was_encoded_is_decoded(content: bytes) -> None:
    assert decode(encode(content)) == content


@given(
    st.lists(
        st.one_of(st.sampled_from([b"=ybegin size=1 name=x\n", b"=yend\n", b"=ypart\n", b"="]), st.binary(max_size=20))
    )
)
def test_any_bytes_are_read(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    assert all(0 <= file.start < file.end <= len(text) for file in embedded_files(text))


def test_many_beginnings_are_read_in_linear_time() -> None:
    assert len(list(embedded_files(b"=ybegin size=1 name=x\n" * 20_000))) == 20_000
    assert len(decode(b"=" * 1_000_000)) == 500_000
