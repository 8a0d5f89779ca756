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
