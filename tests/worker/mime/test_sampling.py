# SPDX-License-Identifier: GPL-3.0-or-later
"""A large content is looked through in pieces, and decoded whole only if something may lie in it."""

import base64
import random

import pytest

from defang_worker.mime import parse
from defang_worker.mime.sampling import LARGE_BYTES, Sample
from defang_worker.mime.views import examine

NOISE = random.Random(7).randbytes(3 * LARGE_BYTES).replace(b"PK", b"..").replace(b"begin", b".....")
BINARY = b"\x89PNG\0" + NOISE
TEXT = b"word " * (LARGE_BYTES // 2)


def is_worth_decoding(content: bytes, *, piece_bytes: int = 57 * 1024, content_type: str = "application/pdf") -> bool:
    sample = Sample()
    for start in range(0, len(content), piece_bytes):
        sample.take(content[start : start + piece_bytes])
    return sample.is_worth_decoding(content_type, ())


def test_plain_noise_is_not_worth_decoding() -> None:
    assert not is_worth_decoding(BINARY)


def test_content_that_nobody_saw_is_worth_decoding() -> None:
    assert Sample().is_worth_decoding("application/pdf", ())


@pytest.mark.parametrize("piece_bytes", [57 * 1024, 100_000, 4096])
@pytest.mark.parametrize("shift", range(-4, 1))
def test_member_of_a_zip_is_seen_across_the_seam_of_two_pieces(piece_bytes: int, shift: int) -> None:
    at = 2 * piece_bytes + shift
    assert is_worth_decoding(BINARY[:at] + b"PK\x03\x04" + BINARY[at:], piece_bytes=piece_bytes)


def test_member_of_a_zip_is_seen_among_very_many_that_look_alike() -> None:
    assert not is_worth_decoding(BINARY + b"PK" * 1000 + BINARY)
    assert is_worth_decoding(BINARY + b"PK" * 1000 + b"PK\x03\x04" + BINARY)


@pytest.mark.parametrize(
    "word", [b"begin 644 a.exe\n", b"=ybegin line=128\n", b"(This file must be converted with BinHex"]
)
def test_file_in_text_is_worth_decoding(word: bytes) -> None:
    assert is_worth_decoding(TEXT + word + TEXT)
    assert not is_worth_decoding(TEXT + TEXT)


def test_archive_that_begins_or_ends_there_is_worth_decoding() -> None:
    end_record = b"PK\x05\x06" + bytes(18)
    assert is_worth_decoding(b"7z\xbc\xaf\x27\x1c" + BINARY)
    assert is_worth_decoding(BINARY + end_record)
    assert is_worth_decoding(BINARY[:32769] + b"CD001" + BINARY)


def message(content: bytes) -> bytes:
    head = b'Content-Type: image/png; name="a.png"\nContent-Transfer-Encoding: base64\nMIME-Version: 1.0\n\n'
    return head + base64.encodebytes(content)


def test_large_attachment_is_not_decoded_for_the_examination() -> None:
    tree = parse(message(BINARY))
    assert not examine(tree).defects
    assert tree.root._content is None


def test_zip_behind_a_large_picture_is_found() -> None:
    name = b"blocked.exe"
    header = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0" + bytes(12) + len(name).to_bytes(2, "little") + b"\0\0" + name
    tree = parse(message(BINARY + header + BINARY))
    assert {"archive-mislabelled"} <= {defect.name for defect in examine(tree).defects}


def test_only_what_may_matter_is_wanted_of_a_large_content() -> None:
    sample, wanted, piece_bytes = Sample(), 0, 57 * 1024
    content = b"\x89PNG\0" + bytes(4 * 1024 * 1024)
    for start in range(0, len(content), piece_bytes):
        if sample.wants((len(content) - start) * 4 // 3):
            wanted += 1
            sample.take(content[start : start + piece_bytes])
    assert 0 < wanted < len(content) // piece_bytes / 2
    assert not sample.is_worth_decoding("image/png", ())


@pytest.mark.parametrize("left_bytes", [0, 1, 65535])
def test_directory_at_the_end_of_a_very_large_content_is_found(left_bytes: int) -> None:
    content = BINARY + bytes(2 * 1024 * 1024) + b"PK\x05\x06" + bytes(16) + left_bytes.to_bytes(2, "little")
    tree = parse(message(content + bytes(left_bytes)))
    examine(tree)
    assert tree.root._content is not None


@pytest.mark.parametrize("line_bytes", [16, 64, 512, 760, 996])
@pytest.mark.parametrize("size_bytes", [900_000, 1_000_000, 1_500_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_directory_at_the_end_is_found_whatever_the_length_of_lines(
    line_bytes: int, size_bytes: int, line_end: bytes
) -> None:
    content = (BINARY + NOISE * 4)[:size_bytes] + b"PK\x05\x06" + bytes(16) + b"\x60\xea" + bytes(60_000)
    encoded = base64.b64encode(content)
    lines = (encoded[at : at + line_bytes] for at in range(0, len(encoded), line_bytes))
    head, _, _ = message(b"").partition(b"\n\n")
    tree = parse(head + b"\n\n" + line_end.join(lines) + line_end)
    examine(tree)
    assert tree.root._content is not None


@pytest.mark.parametrize("odd", [b"=", b"-", b"!", b"\x80", b"\0"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_odd_byte_in_the_middle_of_a_very_large_content_is_found(odd: bytes, line_end: bytes) -> None:
    whole = message(b"\x89PNG\0" + bytes(4 * 1024 * 1024)).replace(b"\n", line_end)
    middle = len(whole) // 2 + (len(whole) // 2 % 2)
    while whole[middle : middle + 1] != b"A":
        middle += 1
    assert not examine(parse(whole)).defects
    assert examine(parse(whole[:middle] + odd + whole[middle + 1 :])).defects
