# SPDX-License-Identifier: GPL-3.0-or-later
"""Uuencoded files in text, and text that only looks like them."""

import base64
import binascii

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from defang_worker.mime.decode import decode_body
from defang_worker.mime.embedded import EmbeddedFile
from defang_worker.mime.uuencode import embedded_files

WORDS = b"Plain words, line 1, not a program.\r\nPlain words, line 2.\r\n"


def lines(content: bytes, *, backtick: bool = True) -> list[bytes]:
    return [binascii.b2a_uu(content[at : at + 45], backtick=backtick)[:-1] for at in range(0, len(content), 45)]


def block(content: bytes = WORDS, name: bytes = b"blocked.exe", line_end: bytes = b"\n") -> bytes:
    return line_end.join([b"begin 644 " + name, *lines(content), b"`", b"end", b""])


def found(text: bytes) -> list[tuple[tuple[str, ...], bytes]]:
    return [(file.names, file.content) for file in embedded_files(text)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r\r\n"])
def test_a_file_is_found_with_the_text_around_it(line_end: bytes) -> None:
    before, after = b"Hello, here it is:" + 2 * line_end, line_end + b"Bye" + line_end
    text = before + block(line_end=line_end) + after
    assert list(embedded_files(text)) == [
        EmbeddedFile("uuencode", ("blocked.exe",), WORDS, len(before), len(text) - len(after))
    ]


def test_several_files_are_found() -> None:
    text = block(b"one", b"1.txt") + block(b"two" * 50, b"2 and more.txt") + b"text\n" + block(b"", b"empty")
    assert found(text) == [(("1.txt",), b"one"), (("2 and more.txt",), b"two" * 50), (("empty",), b"")]


@pytest.mark.parametrize(
    "begin",
    [b"begin 0644 a.exe", b"begin 100644 a.exe", b"begin  666  a.exe ", b"begin\t644\ta.exe", b"begin a.exe"],
)
def test_the_first_line_may_be_spelled_in_many_ways(begin: bytes) -> None:
    assert found(block().replace(b"begin 644 blocked.exe", begin)) == [(("a.exe",), WORDS)]


def test_a_file_without_a_name_is_a_file() -> None:
    assert found(block(name=b"")) == [((), WORDS)]
    assert found(block().replace(b"begin 644 blocked.exe", b"begin 644")) == [((), WORDS)]


def test_names_beyond_ascii_are_guessed() -> None:
    assert found(block(name="größe.exe".encode()))[0][0] == ("größe.exe",)
    assert found(block(name="größe.exe".encode("latin-1")))[0][0] == ("größe.exe",)


@pytest.mark.parametrize(
    "cut",
    [
        b"\n".join([b"begin 644 a", *lines(WORDS)]),
        b"\n".join([b"begin 644 a", *lines(WORDS), b""]),
        b"\n".join([b"begin 644 a", *lines(WORDS), b"`", b"", b"Regards, and many thanks", b"Ann", b"x", b"y", b"z"]),
        b"\n".join([b"begin 644 a", *lines(WORDS), b" ", b"", b"end"]),
        b"\n".join([b"begin 644 a", *lines(WORDS), b"end"]),
    ],
)
def test_what_closes_a_file_may_be_missing(cut: bytes) -> None:
    assert found(cut) == [(("a",), WORDS)]


def test_a_checksum_or_lost_blanks_at_the_end_of_a_line_change_nothing() -> None:
    zeros = WORDS[:43] + b"\0\0" + WORDS + bytes(20)
    checked = [line + b"X" for line in lines(WORDS)]
    trimmed = [line.rstrip(b" ") for line in lines(zeros, backtick=False)]
    assert found(b"\n".join([b"begin 644 a", *checked, b"`", b"end"])) == [(("a",), WORDS)]
    assert found(b"\n".join([b"begin 644 a", *trimmed, b"", b"end"])) == [(("a",), zeros)]


def test_a_damaged_line_does_not_hide_the_rest() -> None:
    first, second = lines(WORDS)
    assert found(b"\n".join([b"begin 644 a", first, b"what is this?", second, b"`", b"end"])) == [(("a",), WORDS)]


@pytest.mark.parametrize(
    "text",
    [
        block().replace(b"blocked.exe\n", b"blocked.exe\nX\n"),
        block().replace(b"blocked.exe\n", b"blocked.exe\n" + 10 * b"An odd line\n"),
        block().replace(b"\n", b"XX\n").replace(b"exeXX", b"exe").replace(b"endXX", b"end").replace(b"`XX", b"`"),
        block().replace(b"\n", b"   \n"),
        block().replace(b"\n", b" and more\n").replace(b"exe and more", b"exe").replace(b"end and more", b"end"),
        block().replace(b"blocked.exe\n", b"blocked.exe\nM too short\n"),
        block().replace(b"\n", b"XX\n").replace(b"exeXX", b"exe").removesuffix(b"`XX\nendXX\n"),
    ],
)
def test_lines_that_decoders_pass_over_hide_no_file_that_has_a_mode_and_a_name(text: bytes) -> None:
    assert found(text) == [(("blocked.exe",), WORDS)]


@pytest.mark.parametrize("close", [b"end\n", b"`\nend\n", b"`\n"])
def test_one_line_with_more_behind_it_is_a_file_if_it_is_closed(close: bytes) -> None:
    assert found(b"begin 644 a.exe\n" + lines(b"words")[0] + b"XX\n" + close) == [(("a.exe",), b"words")]
    assert found(b"begin 644 a.exe\nodd\n" + lines(b"words")[0] + b"\n" + close) == [(("a.exe",), b"words")]


@pytest.mark.parametrize(
    "text",
    [
        b"begin 644 steps from here\nGO ON\nend\n",
        b"begin 644 steps from here\n# A LINE OF ITS OWN\nand others, which are text\n",
        b"begin 644 steps from here\n# A LINE OF ITS OWN\nOK\nTHEN\n",
        block().replace(b"644 blocked.exe\n", b"blocked.exe\nX\n"),
        b"We begin 644 steps from here\nbegin the walk early\nMARKER\n",
        b"begin 644 steps from here\nThen go on.\n",
        b"begin 644 steps from here\nTHEN GO ON, SAYS THE MAP\n",
        b"begin 644 steps from here\n\nMY REGARDS\n",
        b"begin 644 steps from here\n",
        b"begin 644 steps from here",
        b"begin\nend\n",
        b"begin 755\nend\n",
        b"Please\nbegin\n`\nand so on\n",
        b"> begin 644 blocked.exe\n> M4&QA:6X@=V]R9',L\n",
        b"begin-base64 644 steps from here\nHello\n",
    ],
)
def test_text_that_only_looks_like_a_file_is_none(text: bytes) -> None:
    assert found(text) == []


def test_the_base64_form_is_found() -> None:
    encoded = base64.encodebytes(WORDS * 3)
    assert found(b"Hi\nbegin-base64 644 a b.exe\n" + encoded + b"====\nBye\n") == [(("a b.exe",), WORDS * 3)]
    assert found(b"Hi\nbegin-base64 644 a.exe\n" + encoded + b"\nBye, bye\n") == [(("a.exe",), WORDS * 3)]


def test_a_declared_encoding_yields_the_files_alone() -> None:
    assert decode_body(b"text\n" + block(), "uuencode") == WORDS
    assert decode_body(b"no file here", "uuencode") == b"no file here"


@given(
    content=st.binary(max_size=300), name=st.text("abc .-_", min_size=1, max_size=20).filter(lambda n: n == n.strip())
)
def test_what_was_encoded_is_decoded(content: bytes, name: str) -> None:
    assert found(b"text\n" + block(content, name.encode()) + b"text\n") == [((name,), content)]


PIECES = st.sampled_from(
    [
        b"begin 644 x\n",
        b"begin-base64 644 x\n",
        b"end\n",
        b"`\n",
        b"\n",
        b"AAAA\n",
        b"====\n",
        b"#86)C\n",
        b"x",
        b"\xff\r",
    ]
)


@example([b"begin 644 x\n"])
@given(st.lists(st.one_of(PIECES, st.binary(max_size=70)), max_size=12))
def test_any_bytes_are_read(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    end = 0
    for file in embedded_files(text):
        assert end <= file.start < file.end <= len(text)
        end = file.end


@pytest.mark.parametrize(
    "piece", [b"begin 644 x\n", b"begin 644 x\n#86)C\n", b"begin 644 x\n#86)C\nx\n", b"begin-base64 6 x\n"]
)
def test_many_beginnings_are_read_in_linear_time(piece: bytes) -> None:
    assert len(list(embedded_files(piece * 20_000))) in {0, 20_000}
