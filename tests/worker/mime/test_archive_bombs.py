# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives built to exhaust who looks into them end early, with an error that says why."""

import gzip
import struct
import time
import zipfile
from collections import Counter

import pytest

from defang_worker.mime.archives import Archive, ArchiveLimitError, ArchiveLimits, Member, Reason, members
from tests.support.archive_maker import by_libarchive, tarred, zipped

ZEROS = bytes(3_000_000)
# Far above what any of these takes, even on a busy machine, and far below what they would take unbounded.
ENOUGH_S = 10.0


def nested(depth: int, make: int = 0) -> bytes:
    data = b"words"
    for level in range(depth):
        data = zipped({f"{level}.zip": data}) if make == 0 else gzip.compress(data)
    return data


def overlapping(count: int) -> bytes:
    """One member's content, which all records of the directory share."""
    data = zipped({"k": ZEROS})
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    directory = data[start:end] * count
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    return data[:start] + directory + tail


def forest(width: int, depth: int) -> bytes:
    """Zips in zips in zips, each with as many copies, as in 42.zip."""
    data = zipped({"zeros": ZEROS})
    for _ in range(depth):
        data = zipped({f"{index}.zip": data for index in range(width)})
    return data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (nested(6), Reason.DEPTH),
        (nested(7, 1), Reason.DEPTH),
        (forest(16, 4), Reason.SIZE),
        (overlapping(100), Reason.OVERLAP),
        (overlapping(20_000), Reason.SIZE),
        (zipped({"big.zip": zipped({"zeros": ZEROS}, zipfile.ZIP_STORED)}), Reason.RATIO),
        (gzip.compress(tarred({"zeros": ZEROS})), Reason.RATIO),
        (by_libarchive({"big.tar": tarred({"zeros": ZEROS})}, "7zip"), Reason.RATIO),
        (b"PK\x05\x06" * 50_000 + zipped({"a": b"x"}), Reason.MEMBERS),
        (zipped({"a": b"x"})[:60] * 20_000, Reason.MEMBERS),
    ],
    ids=["zips", "gzips", "forest", "overlap", "larger overlap", "ratio", "tar.gz", "7z", "directories", "headers"],
)
def test_a_bomb_ends_early_and_says_why(data: bytes, reason: Reason) -> None:
    started = time.process_time()
    archive = Archive(data)
    for _ in archive:
        pass
    assert isinstance(archive.error, ArchiveLimitError)
    assert archive.error.reason is reason
    assert time.process_time() - started < ENOUGH_S


def test_members_that_are_read_share_one_limit() -> None:
    data = zipped({f"{index}.txt": bytes(900_000) for index in range(5)})
    read: list[int | Reason] = []
    for member in members(data, ArchiveLimits(max_expanded_bytes=2_000_000)):
        try:
            read.append(len(member.read()))
        except ArchiveLimitError as error:
            read.append(error.reason)
    assert read == [900_000, 900_000, Reason.SIZE, Reason.SIZE, Reason.SIZE]


def test_a_member_counts_once_however_often_it_is_read() -> None:
    (member,) = members(zipped({"a.txt": bytes(900_000)}), ArchiveLimits(max_expanded_bytes=1_000_000))
    assert len(member.read()) == len(member.read()) == 900_000


def test_an_lzma_member_that_asks_for_much_memory_is_refused() -> None:
    data = bytearray(zipped({"a.txt": b"words"}, zipfile.ZIP_LZMA))
    at = 30 + len("a.txt") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    (member,) = Archive(bytes(data))
    with pytest.raises(ArchiveLimitError, match="memory"):
        member.read()


@pytest.mark.parametrize("word", [b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08", b"PK\x03\x04\x14\0\x08\0\x08\0"])
def test_magic_numbers_by_the_million_cost_little(word: bytes) -> None:
    started = time.process_time()
    archive = Archive(zipped({"a.txt": b"words"}) + word * 1_000_000)
    assert "a.txt" in {name for member in archive for name in member.names}
    assert time.process_time() - started < ENOUGH_S


def test_many_small_bombs_are_expanded_no_further_than_one() -> None:
    """What a bomb was expanded to counts, though it is refused."""
    bomb = zipped({"zeros": ZEROS})
    archive = Archive(
        zipped({f"{index}.zip": bomb for index in range(50)}), ArchiveLimits(max_expanded_bytes=8_000_000)
    )
    reasons = Counter(_reason(member) for member in archive if member.name == "zeros")
    assert set(reasons) == {Reason.RATIO, Reason.SIZE}
    assert reasons[Reason.RATIO] <= 8


def _reason(member: Member) -> Reason | None:
    try:
        member.read()
    except ArchiveLimitError as error:
        return error.reason
    return None
