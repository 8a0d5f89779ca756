# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in zip archives: nested, encrypted, damaged, and built to do harm."""

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import canonical, parse
from defang_worker.mime.archives import ArchiveError, ArchiveLimitError, ArchiveLimits, member_names

CORPUS = Path(__file__).parent / "corpus"


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_names_are_listed_in_order() -> None:
    assert member_names(packed({"b.txt": b"x", "dir/a.exe": b"y"})) == ["b.txt", "dir/a.exe"]


def test_an_empty_archive_has_no_names() -> None:
    assert member_names(packed({})) == []


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str
)
def test_archives_within_are_recognized_by_content_whatever_packs_them(method: int) -> None:
    inner = packed({"blocked.exe": b"x"})
    assert member_names(packed({"notes.dat": packed({"deep.bin": inner})}, method)) == [
        "notes.dat",
        "deep.bin",
        "blocked.exe",
    ]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("Z02.eml", {"note.txt", "inner.dat", "blocked.exe"}),
        ("Z03.eml", {"blocked.exe"}),
        ("Z05.eml", {"blocked.exe", "picture.jpg"}),
        ("C10.eml", {"readme.txt", "list.csv"}),
    ],
)
def test_attached_archives_of_the_corpus(file: str, expected: set[str]) -> None:
    attachment = parse((CORPUS / file).read_bytes()).root.children[1]
    assert {canonical(name) for name in member_names(attachment)} == expected


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_within_is_seen_whatever_size_it_claims(method: int) -> None:
    data = bytearray(packed({"inner.zip": packed({"blocked.exe": b"MARKER"})}, method))
    data[22:26] = bytes(4)
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = bytes(4)
    assert member_names(bytes(data)) == ["inner.zip", "blocked.exe"]


def test_a_name_is_also_seen_behind_a_nul() -> None:
    archive = packed({"blocked.exe_.txt": b"x"}).replace(b"blocked.exe_.txt", b"blocked.exe\0.txt")
    assert set(member_names(archive)) == {"blocked.exe", "blocked.exe\0.txt"}


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04", b"\xd0\xcf\x11\xe0" + bytes(600)])
def test_what_is_no_archive_is_an_error(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        member_names(data)


def test_every_cut_through_an_archive_is_an_error() -> None:
    archive = packed({"a.txt": b"some words " * 9, "b.zip": packed({"c.txt": b"x"})})
    for length in range(len(archive)):
        with pytest.raises(ArchiveError):
            member_names(archive[:length])


def test_a_cut_through_an_inner_archive_is_an_error() -> None:
    inner = packed({"c.txt": b"x"})
    for length in range(4, len(inner)):
        with pytest.raises(ArchiveError):
            member_names(packed({"b.zip": inner[:length]}))


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_gives_names_or_an_error(position: int, change: int) -> None:
    archive = bytearray(packed({"a.txt": b"words " * 9, "b.zip": packed({"c.txt": b"x"})}))
    archive[position % len(archive)] ^= change
    try:
        names = member_names(bytes(archive))
    except ArchiveError:
        return
    assert names


def test_encrypted_members_have_names() -> None:
    archive = bytearray(packed({"secret.exe": b"x" * 20}, zipfile.ZIP_STORED))
    directory = archive.index(b"PK\x01\x02")
    for flags_at in (6, directory + 8):
        (flags,) = struct.unpack_from("<H", archive, flags_at)
        struct.pack_into("<H", archive, flags_at, flags | 1)
    assert member_names(bytes(archive)) == ["secret.exe"]


def test_an_inner_archive_that_cannot_be_unpacked_is_an_error() -> None:
    archive = bytearray(packed({"inner.zip": b"x"}, zipfile.ZIP_STORED))
    directory = archive.index(b"PK\x01\x02")
    for method_at in (8, directory + 10):
        struct.pack_into("<H", archive, method_at, 98)
    with pytest.raises(ArchiveError, match="method 98"):
        member_names(bytes(archive))


@pytest.mark.parametrize(
    ("limits", "archive"),
    [
        (ArchiveLimits(max_members=2), packed({"a": b"", "b": b"", "c": b""})),
        (ArchiveLimits(max_members=2), packed({"a": b"", "b.zip": packed({"c": b"", "d": b""})})),
        (ArchiveLimits(max_depth=1), packed({"a.zip": packed({"b": b""})})),
        (ArchiveLimits(max_expanded_bytes=100), packed({"a.zip": packed({"b": b"x" * 200}, zipfile.ZIP_STORED)})),
        (ArchiveLimits(), packed({"a.zip": packed({"b": bytes(3_000_000)}, zipfile.ZIP_STORED)})),
    ],
    ids=["members", "members in all", "depth", "expanded size", "ratio"],
)
def test_limits_end_the_search_with_an_error(limits: ArchiveLimits, archive: bytes) -> None:
    with pytest.raises(ArchiveLimitError):
        member_names(archive, limits)


def test_a_bomb_that_is_no_archive_inside_is_not_expanded() -> None:
    assert member_names(packed({"zeros": bytes(3_000_000)}), ArchiveLimits(max_expanded_bytes=10)) == ["zeros"]
