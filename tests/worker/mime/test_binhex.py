# SPDX-License-Identifier: GPL-3.0-or-later
"""BinHex 4.0 files in text."""

import base64
import struct
from binascii import crc_hqx

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime.binhex import embedded_files, unpack_runs
from defang_worker.mime.embedded import EmbeddedFile

LETTERS = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
MARK = b"(This file must be converted with BinHex 4.0)"


def pack_runs(data: bytes) -> bytes:
    packed = bytearray()
    at = 0
    while at < len(data):
        count = 1
        while count < 255 and data[at : at + count + 1] == data[at : at + 1] * (count + 1):
            count += 1
        packed += b"\x90\0" if data[at] == 0x90 else data[at : at + 1]
        if count > 2:
            packed += b"\x90" + bytes([count])
        else:
            count = 1
        at += count
    return bytes(packed)


def letters(content: bytes, name: bytes = b"blocked.exe", resource: bytes = b"", crc: int | None = None) -> bytes:
    header = bytes([len(name)]) + name + struct.pack(">x4s4sHII", b"TEXT", b"ttxt", 0, len(content), len(resource))
    header += struct.pack(">H", crc_hqx(header, 0) if crc is None else crc)
    forks = b"".join(fork + struct.pack(">H", crc_hqx(fork, 0)) for fork in (content, resource))
    encoded = base64.b64encode(pack_runs(header + forks)).rstrip(b"=").translate(bytes.maketrans(BASE64, LETTERS))
    text = b":" + encoded + b":"
    return b"\r\n".join(text[at : at + 64] for at in range(0, len(text), 64)) + b"\r\n"


def block(content: bytes, name: bytes = b"blocked.exe", resource: bytes = b"") -> bytes:
    return MARK + b"\r\n\r\n" + letters(content, name, resource)


def found(text: bytes) -> list[tuple[tuple[str, ...], bytes]]:
    return [(file.names, file.content) for file in embedded_files(text)]


def test_a_file_is_found_with_the_text_around_it() -> None:
    before, after = b"Hello\r\n\r\n", b"Bye\r\n"
    whole = before + block(b"some words") + after
    (file,) = embedded_files(whole)
    assert file == EmbeddedFile("binhex", ("blocked.exe",), b"some words", len(before), len(whole) - len(after) - 2)


def test_both_forks_are_files() -> None:
    assert found(block(b"data", resource=b"resource")) == [(("blocked.exe",), b"data"), (("blocked.exe",), b"resource")]
    assert found(block(b"")) == [(("blocked.exe",), b"")]


def test_several_files_are_found_and_names_read_as_a_macintosh_writes_them() -> None:
    assert found(block(b"1", b"a") + b"text\n" + block(b"2", "ö".encode("mac_roman"))) == [
        (("a",), b"1"),
        (("ö",), b"2"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        MARK + b"\n" + letters(b"words"),
        MARK + b"\n> :\n" + letters(b"words"),
        b"  (Converted with BinHex 4.0, too)\n\n\n" + letters(b"words"),
        block(b"words").rstrip(b":\r\n"),
        MARK + b"\n" + letters(b"words", crc=1),
        b"\r\n" + letters(b"words"),
    ],
)
def test_what_is_around_the_data_may_be_damaged(text: bytes) -> None:
    assert found(text) == [(("blocked.exe",), b"words")]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        MARK,
        MARK + b"\nsaid the letter, and so:\nThat was all.\n",
        MARK + b"\n:\n",
        MARK + b"\n::\n",
        MARK + b"\n:just a line of text:\n",
        b":-) said she :\n",
        b":" + letters(b"words", crc=1)[1:],
    ],
)
def test_text_that_only_looks_like_a_file_is_none(text: bytes) -> None:
    assert found(text) == []


@given(content=st.binary(max_size=300), resource=st.binary(min_size=1, max_size=20), byte=st.integers(0, 255))
def test_what_was_encoded_is_decoded(content: bytes, resource: bytes, byte: int) -> None:
    content = content + bytes([byte]) * 600 + b"\x90\x90\x90" + content
    assert found(block(content, resource=resource)) == [(("blocked.exe",), content), (("blocked.exe",), resource)]


@pytest.mark.parametrize(
    ("packed", "data"),
    [
        (b"", b""),
        (b"a\x90\x04b", b"aaaab"),
        (b"a\x90\x00b", b"a\x90b"),
        (b"\x90\x00\x90\x03", b"\x90\x90\x90"),
        (b"a\x90\x90b", b"a" * 144 + b"b"),
        (b"a\x90\x02\x90\x03", b"aaaa"),
        (b"a\x90", b"a"),
        (b"\x90\x05", b""),
    ],
)
def test_runs_are_written_out(packed: bytes, data: bytes) -> None:
    assert unpack_runs(packed, 1000) == data


def test_runs_are_cut_off_at_the_limit() -> None:
    assert unpack_runs(b"a\x90\xff" * 1000, 5000) == b"a" * 5000


@given(st.lists(st.one_of(st.sampled_from([MARK, b"\n:", b":", b"\n"]), st.binary(max_size=40)), max_size=8))
def test_any_bytes_are_read(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    assert all(0 <= file.start < file.end <= len(text) for file in embedded_files(text))


def test_many_marks_are_read_in_linear_time() -> None:
    assert found((MARK + b"\n") * 20_000 + b":!!!!") == []
