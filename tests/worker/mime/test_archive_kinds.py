# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives other than zip: tar by our reader, compressed files, and what libarchive reads in a process of its own."""

import bz2
import gzip
import io
import lzma
import os
import random
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defang_worker.mime.archives import (
    Archive,
    ArchiveEncryptedError,
    ArchiveError,
    ArchiveKind,
    ArchiveLimitError,
    ArchiveLimits,
    archive_kind,
    foreign,
    member_names,
    members,
)
from tests.support.archive_maker import (
    CLOSED_7Z,
    ENCRYPTED_7Z,
    Files,
    by_libarchive,
    cabinet,
    rar4,
    rar5,
    tarred,
    zipped,
)

FILES = {"a.txt": b"plain words " * 9, "blocked.exe": b"MARKER in it"}
LONG = "folder/" * 20 + "blocked.exe"

Maker = Callable[[Files], bytes]


def made(form: str, compression: str | None = None) -> Maker:
    return lambda files: by_libarchive(files, form, compression)


KINDS: list[tuple[ArchiveKind, Maker]] = [
    (ArchiveKind.TAR, tarred),
    (ArchiveKind.TAR, lambda files: tarred(files, form=tarfile.GNU_FORMAT)),
    (ArchiveKind.TAR, lambda files: tarred(files, form=tarfile.USTAR_FORMAT)),
    (ArchiveKind.TAR, made("v7tar")),
    (ArchiveKind.SEVEN_ZIP, made("7zip")),
    (ArchiveKind.ISO, made("iso9660")),
    (ArchiveKind.RAR, rar4),
    (ArchiveKind.RAR, rar5),
    (ArchiveKind.CAB, cabinet),
    (ArchiveKind.CPIO, made("cpio_newc")),
    (ArchiveKind.AR, made("ar_svr4")),
]
COMPRESSIONS = [
    (ArchiveKind.GZIP, "gzip"),
    (ArchiveKind.BZIP2, "bzip2"),
    (ArchiveKind.XZ, "xz"),
    (ArchiveKind.LZMA, "lzma"),
    (ArchiveKind.ZSTD, "zstd"),
    (ArchiveKind.LZ4, "lz4"),
    (ArchiveKind.LZIP, "lzip"),
    (ArchiveKind.COMPRESS, "compress"),
]


@pytest.mark.parametrize(("kind", "make"), KINDS)
def test_names_and_contents_of_every_kind(kind: ArchiveKind, make: Maker) -> None:
    archive = Archive(make(FILES))
    assert archive.kind is kind
    assert {member.name: member.read() for member in archive if not member.is_directory} == FILES
    assert (archive.error, archive.defects) == (None, ("archive-other",))


@pytest.mark.parametrize(("kind", "compression"), COMPRESSIONS)
def test_a_compressed_tar_is_one_archive(kind: ArchiveKind, compression: str) -> None:
    archive = Archive(by_libarchive(FILES, "pax", compression))
    assert archive.kind is kind
    found = {member.name: member.read() for member in archive if member.kind is ArchiveKind.TAR}
    assert (found, archive.error, archive.defects) == (FILES, None, ("archive-other",))


@pytest.mark.parametrize(("kind", "make"), KINDS)
def test_a_cut_archive_is_an_error_or_still_has_all_names(kind: ArchiveKind, make: Maker) -> None:
    data = make(FILES)
    for length in range(len(data) // 7, len(data.rstrip(b"\0")), len(data) // 7):
        archive = Archive(data[:length])
        names = {member.name for member in archive}
        assert archive.error or names >= set(FILES), (kind, length)


NOISE = random.Random(1).randbytes(400_000)


@pytest.mark.parametrize(
    "make",
    [
        tarred,
        zipped,
        lambda files: tarred(files, "w:gz"),
        lambda files: tarred(files, "w:xz"),
        lambda files: by_libarchive(files, "pax", "zstd"),
        lambda files: zipped({"inner.tgz": tarred(files, "w:gz")}),
        made("cpio_newc"),
    ],
    ids=["tar", "zip", "tar.gz", "tar.xz", "tar.zst", "tar.gz in zip", "cpio"],
)
def test_of_an_archive_cut_off_what_is_before_the_cut_can_be_read(make: Maker) -> None:
    data = make({**FILES, "cut.bin": NOISE})
    archive = Archive(data[: len(data) * 9 // 10])
    found: dict[str, bytes] = {}
    for member in archive:
        try:
            found[member.name] = member.read()
        except ArchiveError as error:
            found[member.name] = error.partial
    assert {name: found[name] for name in FILES} == FILES
    assert len(found["cut.bin"]) > len(NOISE) // 2
    assert NOISE.startswith(found["cut.bin"])
    assert archive.error is not None
    assert "archive-truncated" in archive.defects


def test_archives_within_an_archive_take_one_process_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    class Counted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            started.append(self)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", Counted)
    inner = [made("7zip"), made("cpio_newc"), lambda files: by_libarchive(files, "pax", "zstd"), rar5]
    archive = Archive(zipped({f"{index}.bin": make(FILES) for index, make in enumerate(inner)}))
    found = [member.read() for member in archive if member.path and not member.is_directory and member.name in FILES]
    assert (found, archive.error) == ([*FILES.values()] * len(inner), None)
    assert len(started) == 1


def test_contents_can_be_read_when_the_iteration_is_over() -> None:
    found = list(members(by_libarchive(FILES, "7zip")))
    assert [member.read() for member in reversed(found)] == list(reversed(FILES.values()))


def test_archives_of_different_kinds_are_found_in_one_another() -> None:
    data = zipped({"x.bin": by_libarchive({"y.dat": tarred({"z": rar5(FILES)}, "w:gz")}, "7zip")})
    archive = Archive(data)
    found = {(member.path, member.name) for member in archive}
    assert (("x.bin", "y.dat", "", "z"), "blocked.exe") in found
    assert archive.error is None
    assert "archive-nested" in archive.defects


def test_the_name_in_a_gzip_file_counts() -> None:
    file = io.BytesIO()
    with gzip.GzipFile("blocked.exe", "wb", fileobj=file) as packed:
        packed.write(b"words")
    (member,) = members(file.getvalue())
    assert (member.names, member.read()) == (("blocked.exe",), b"words")


@pytest.mark.parametrize(
    ("filename", "inside"),
    [("blocked.exe.gz", "blocked.exe"), ("papers.TGZ", "papers.tar"), ("picture.jpg", ""), (".gz", ""), ("", "")],
)
def test_a_compressed_file_without_a_name_inside_has_that_of_its_own(filename: str, inside: str) -> None:
    (member,) = Archive(gzip.compress(b"words"), filenames=(filename,))
    assert member.name == inside


def test_all_parts_of_a_gzip_file_are_its_content() -> None:
    (member,) = members(gzip.compress(b"one ") + gzip.compress(b"two"))
    assert member.read() == b"one two"


@pytest.mark.parametrize(
    ("compress", "filling"), [(bz2.compress, b""), (lzma.compress, b""), (lzma.compress, bytes(8))]
)
def test_all_streams_of_a_compressed_file_are_its_content(compress: Callable[[bytes], bytes], filling: bytes) -> None:
    data = tarred(FILES)
    archive = Archive(compress(data[:300]) + filling + compress(data[300:]))
    assert [member.name for member in archive] == ["", *FILES]
    assert archive.error is None
    assert archive.defects == ("archive-other",)


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
@pytest.mark.parametrize(("rest", "is_junk"), [(b"\r\n\0", False), (b"\0\0\0\0junk", True)])
def test_other_bytes_behind_a_compressed_file_are_told(
    compress: Callable[[bytes], bytes], rest: bytes, is_junk: bool
) -> None:
    for content in (b"words", tarred(FILES)):
        archive = Archive(compress(content) + rest)
        for _ in archive:
            pass
        assert archive.error is None
        assert ("archive-junk" in archive.defects) is is_junk


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_what_is_before_a_damaged_stream_can_be_read(compress: Callable[[bytes], bytes]) -> None:
    (member,) = Archive(compress(b"words") + compress(b"more")[:-12])
    with pytest.raises(ArchiveError) as cut:
        member.read()
    assert cut.value.partial.startswith(b"words")
    (member,) = Archive(compress(b"words") + compress(b"more")[:12] + b"damage" * 9)
    with pytest.raises(ArchiveError) as damaged:
        member.read()
    assert damaged.value.partial == b"words"


def test_a_file_of_countless_streams_is_beyond_the_limits() -> None:
    archive = Archive(bz2.compress(b"") * 5000)
    for _ in archive:
        pass
    assert isinstance(archive.error, ArchiveLimitError)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_of_tars_are_whole_and_single(form: int) -> None:
    assert member_names(tarred({LONG: b"x", "\u0431\u043b\u043e\u043a.exe": b"y"}, form=form)) == [
        LONG,
        "\u0431\u043b\u043e\u043a.exe",
    ]


def test_a_tar_that_names_a_member_twice_shows_both() -> None:
    data = tarred({"x" * 120 + ".txt": b"words"})
    at = data.index(b"x" * 100, 1024)
    header = bytearray(data[at : at + 512])
    header[:100] = b"blocked.exe".ljust(100, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert set(member_names(data[:at] + bytes(header) + data[at + 512 :])) == {"blocked.exe", "x" * 120 + ".txt"}


@pytest.mark.parametrize("name", ["../../blocked.exe", "/blocked.exe", "a\nb.exe"])
def test_odd_names_in_tars_are_told(name: str) -> None:
    archive = Archive(tarred({name: b"x"}))
    assert [member.name for member in archive] == [name]
    assert "archive-odd-member-name" in archive.defects


def test_what_stands_behind_the_end_of_a_tar_is_seen() -> None:
    archive = Archive(tarred({"a.txt": b"x"}) + tarred(FILES))
    assert {member.name for member in archive} == {"a.txt", *FILES}
    assert "archive-junk" in archive.defects


def linked(kind: bytes, size: int) -> bytes:
    """Return the header of a link, device, folder or pipe that claims a size."""
    header = bytearray(tarred({"l": b""}, form=tarfile.USTAR_FORMAT)[:512])
    header[124:136] = b"%011o\0" % size
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_what_follows_a_link_that_claims_a_size_is_read_in_both_ways(kind: bytes) -> None:
    hidden = tarred({"blocked.exe": b"MARKER"}, form=tarfile.USTAR_FORMAT)[:1024]
    rest = tarred({"b.txt": b"w" * 512 + hidden, "c.txt": b"x"}, form=tarfile.USTAR_FORMAT)
    archive = Archive(linked(kind, 1024) + rest)
    found = {member.name: member.read() for member in archive}
    assert set(found) == {"l", "b.txt", "c.txt", "blocked.exe"}
    assert found["blocked.exe"] == b"MARKER"
    assert archive.error is None
    assert "archive-junk" in archive.defects


def test_a_tar_that_is_damaged_in_one_way_is_read_in_the_other() -> None:
    archive = Archive(linked(b"2", 1024) + b"w" * 1024 + tarred(FILES))
    assert [member.name for member in archive] == ["l", *FILES]
    assert isinstance(archive.error, ArchiveError)


@pytest.mark.parametrize("size", [512, 1000, 10**9])
def test_a_link_that_claims_a_size_and_hides_nothing_is_no_defect(size: int) -> None:
    archive = Archive(linked(b"1", size) + tarred(FILES))
    assert [member.name for member in archive] == ["l", *FILES]
    assert archive.error is None
    assert archive.defects == ("archive-other",)


def test_headers_that_are_no_headers_do_not_end_the_second_way_through_a_tar() -> None:
    damaged = tarred({"d": b""}, form=tarfile.USTAR_FORMAT)[:512].replace(b"00000000000\0", b"zzzzzzzzzzz\0", 1)
    header = bytearray(damaged)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    hidden = b"w" * 512 + bytes(header) + tarred({"blocked.exe": b"MARKER"}, form=tarfile.USTAR_FORMAT)[:1024]
    archive = Archive(linked(b"2", 1024) + tarred({"b.txt": hidden, "c.txt": b"x"}, form=tarfile.USTAR_FORMAT))
    assert {member.name for member in archive} == {"l", "b.txt", "c.txt", "blocked.exe"}
    assert archive.error is None


def test_holes_of_a_sparse_member_are_filled_within_the_limits() -> None:
    def header(offset: int, size: int) -> bytes:
        block = bytearray(tarred({"x": b"w" * 100})[:512])
        block[156:157], block[257:265] = b"S", b"ustar  \0"
        block[386:410] = b"%011o\0%011o\0" % (offset, size)
        block[483:495] = b"%011o\0" % (offset + size)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    end = b"w" * 100 + bytes(412 + 1024)
    (member,) = members(header(5, 100) + end)
    assert member.read() == bytes(5) + b"w" * 100
    (bomb,) = members(header(8**10, 100) + end)
    with pytest.raises(ArchiveLimitError, match="expands"):
        bomb.read()


def test_a_reader_that_crashes_makes_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "crash.py"
    program.write_text("import os\nos.kill(os.getpid(), 11)\n")
    monkeypatch.setattr(foreign, "_PROGRAM", str(program))
    with pytest.raises(ArchiveError, match="reader fail"):
        member_names(by_libarchive(FILES, "7zip"))


def test_a_reader_in_an_endless_loop_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "loop.py"
    program.write_text("while True:\n    pass\n")
    monkeypatch.setattr(foreign, "_PROGRAM", str(program))
    with pytest.raises(ArchiveLimitError, match="too long"):
        member_names(by_libarchive(FILES, "7zip"), ArchiveLimits(max_seconds=0.2))


def test_a_sparse_member_with_many_pieces_does_not_hide_the_next() -> None:
    header = bytearray(tarred({"x": b""})[:512])
    header[156:157], header[257:265] = b"S", b"ustar  \0"
    pieces = [b"%011o\0%011o\0" % (2 * index, 1) for index in range(30)]
    header[386:482], header[482] = b"".join(pieces[:4]), 1
    header[124:136] = b"%011o\0" % 30
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more = b"".join(pieces[4:25]) + b"\1" + bytes(7), b"".join(pieces[25:]).ljust(512, b"\0")
    sparse, plain = members(
        bytes(header) + b"".join(more) + (b"w" * 30).ljust(512, b"\0") + tarred({"blocked.exe": b"x"})
    )
    assert sparse.read() == b"w\0" * 29 + b"w"
    assert plain.name == "blocked.exe"


def test_encrypted_members_of_a_7z_have_names() -> None:
    archive = Archive(ENCRYPTED_7Z)
    (member,) = archive
    assert (member.name, member.is_encrypted, archive.error) == ("blocked.exe", True, None)
    assert "archive-encrypted" in archive.defects
    with pytest.raises(ArchiveEncryptedError):
        member.read()


def test_a_disc_image_with_udf_beside_its_iso_9660_is_not_all_that_was_seen() -> None:
    image = bytearray(by_libarchive(FILES, "iso9660"))
    # Behind the last descriptor; libarchive puts nothing there that counts for its reading.
    sector = next(n for n in range(16, 32) if image[n * 2048 : n * 2048 + 6] == b"\xffCD001") + 1
    image[sector * 2048 : sector * 2048 + 7] = b"\0NSR03\x01"
    archive = Archive(bytes(image))
    assert [member.name for member in archive if not member.is_directory] == list(FILES)
    assert archive.error is not None
    assert archive.error.limit == "archive-unreadable"


def test_a_disc_image_with_udf_alone_is_unreadable_and_not_damaged() -> None:
    image = bytearray(64 * 2048)
    for sector, name in ((16, b"BEA01"), (17, b"NSR02"), (18, b"TEA01")):
        image[sector * 2048 : sector * 2048 + 7] = b"\0" + name + b"\x01"
    archive = Archive(bytes(image))
    assert list(archive) == []
    assert archive.error is not None
    assert archive.error.limit == "archive-unreadable"


def test_an_encrypted_list_of_names_is_an_error_of_its_own() -> None:
    with pytest.raises(ArchiveEncryptedError):
        member_names(CLOSED_7Z)
    with pytest.raises(ArchiveEncryptedError):
        member_names(zipped({"papers.7z": CLOSED_7Z}))


@pytest.mark.parametrize("data", [b"\x60\xea\x2c\0\x22\x0b\x01\x0b\x10" + bytes(60), bytes(7) + b"**ACE**" + bytes(60)])
def test_kinds_that_nobody_can_read_are_errors(data: bytes) -> None:
    assert archive_kind(data) is not None
    with pytest.raises(ArchiveError, match="can't be read"):
        member_names(data)


def test_no_process_is_left_when_the_iteration_is_given_up() -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    found = members(by_libarchive(FILES, "7zip"))
    next(found)
    assert children.read_text() != before
    found.close()  # type: ignore[attr-defined]
    assert children.read_text() == before


def test_a_reader_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ArchiveLimitError, match="too long"):
        member_names(by_libarchive(FILES, "7zip"), ArchiveLimits(max_seconds=0.001))


@given(st.sampled_from(["tar", "gzip", "xz"]), st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_gives_members_or_an_error(form: str, position: int, change: int) -> None:
    files = {"a.txt": b"plain words " * 9, "b.zip": zipped(FILES)}
    data = bytearray(tarred(files) if form == "tar" else by_libarchive(files, "pax", form))
    data[position % len(data)] ^= change
    archive = Archive(bytes(data))
    assert list(archive) or archive.error


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([index for index, _ in enumerate(KINDS)][4:]), st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_for_libarchive_gives_members_or_an_error(index: int, position: int, change: int) -> None:
    data = bytearray(KINDS[index][1](FILES))
    data[position % len(data)] ^= change
    archive = Archive(bytes(data))
    for member in archive:
        try:
            member.read()
        except ArchiveError:
            continue
