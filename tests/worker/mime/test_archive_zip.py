# SPDX-License-Identifier: GPL-3.0-or-later
"""Zips that unpackers read differently: all names are found, and what is wrong has its name."""

import bz2
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime.archives import Archive, ArchiveError, archive_kind, member_names
from defang_worker.mime.filenames import extension
from tests.support.archive_maker import zipped

ONE = zipped({"a.txt": b"plain words " * 9, "blocked.exe": b"MARKER in it"})
TWO = zipped({"b.txt": b"other words", "two.exe": b"SECOND"})
DIRECTORY, END = b"PK\x01\x02", b"PK\x05\x06"
AT_DIRECTORY = ONE.index(DIRECTORY)


class Pipe(io.RawIOBase):
    """Can't go back, so that sizes come behind the members."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def streamed() -> bytes:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"plain words " * 9)
        archive.writestr("blocked.exe", b"MARKER in it")
    return bytes(pipe.data)


def with_comment(comment: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", b"plain words")
        archive.comment = comment
    return file.getvalue()


def inserted(between: bytes) -> bytes:
    """ONE with something before its directory, whose place is corrected."""
    data = bytearray(ONE[:AT_DIRECTORY] + between + ONE[AT_DIRECTORY:])
    struct.pack_into("<I", data, data.rindex(END) + 16, AT_DIRECTORY + len(between))
    return bytes(data)


def unicode_path(name: str, path: str) -> bytes:
    info = zipfile.ZipInfo(name)
    field = b"\x01" + struct.pack("<I", zlib.crc32(name.encode("cp437"))) + path.encode()
    info.extra = struct.pack("<2H", 0x7075, len(field)) + field
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, b"words")
    return file.getvalue()


def encrypted(flags_at: tuple[int, ...]) -> bytes:
    data = bytearray(zipped({"blocked.exe": b"words" * 4}, zipfile.ZIP_STORED))
    for at in flags_at:
        data[(data.index(DIRECTORY) if at == 8 else 0) + at] |= 1
    return bytes(data)


def deflated(content: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(content) + stream.flush()


PACKERS: dict[int, Callable[[bytes], bytes]] = {0: bytes, 8: deflated, 12: bz2.compress, 95: lzma.compress}


def local(name: bytes, content: bytes, method: int, packed: int, extra: bytes = b"") -> bytes:
    numbers = (20, 0, method, 0, 0, zlib.crc32(content), packed, len(content), len(name), len(extra))
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", *numbers) + name + extra


def central(name: bytes, content: bytes, method: int, packed: int, at: int = 0, *, extra: bytes = b"") -> bytes:
    numbers = (20, 20, 0, method, 0, 0, zlib.crc32(content), packed, len(content), len(name), len(extra))
    return struct.pack("<4s6H3I5H2I", DIRECTORY, *numbers, 0, 0, 0, 0, at) + name + extra


def end(directory: bytes, at: int) -> bytes:
    return struct.pack("<4s4H2IH", END, 0, 0, 1, 1, len(directory), at, 0)


HIDDEN = local(b"blocked.exe", b"MARKER", 0, 6) + b"MARKER"


def with_header_behind(method: int, local_bytes: int = 0, central_bytes: int = 0) -> bytes:
    """A zip whose only listed member has another's header behind its end; sizes are those of both unless given."""
    content = b"plain words " * 9
    packed = PACKERS[method](content)
    both = len(packed) + len(HIDDEN)
    header = local(b"a.txt", content, method, local_bytes or both)
    directory = central(b"a.txt", content, method, central_bytes or both)
    return header + packed + HIDDEN + directory + end(directory, len(header) + both)


def with_two_directories(*, is_pointed_at: bool) -> bytes:
    """A zip that shows one directory by zip64, and another by its older end or where zip64's locator points."""
    harmless = local(b"a.txt", b"words", 0, 5) + b"words"
    directories = [central(b"a.txt", b"words", 0, 5), central(b"blocked.exe", b"MARKER", 0, 6, len(harmless))]
    data = harmless + HIDDEN
    at = len(data)
    data += b"".join(directories)
    places = [(len(directories[0]), at), (len(directories[1]), at + len(directories[0]))]
    records = [struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, *place) for place in places]
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(data), 1)
    if is_pointed_at:
        return data + records[1] + records[0] + locator + struct.pack("<4s4H2IH", END, 0, 0, 1, 1, *places[0], 0)
    return data + records[0] + locator + struct.pack("<4s4H2IH", END, 0, 0, 1, 1, *places[1], 0)


def with_path_twice(*paths: bytes) -> bytes:
    fields = (b"\x01" + struct.pack("<I", zlib.crc32(b"a.txt")) + path for path in paths)
    extra = b"".join(struct.pack("<2H", 0x7075, len(field)) + field for field in fields)
    directory = central(b"a.txt", b"words", 0, 5, extra=extra)
    content = local(b"a.txt", b"words", 0, 5, extra) + b"words"
    return content + directory + end(directory, len(content))


def looked_at(data: bytes) -> tuple[set[str], set[str], ArchiveError | None]:
    archive = Archive(data)
    names = {name for member in archive for name in member.names}
    return names, set(archive.defects) - {"archive-member"}, archive.error


@pytest.mark.parametrize(
    ("data", "names", "defects"),
    [
        (ONE, {"a.txt", "blocked.exe"}, set()),
        (streamed(), {"a.txt", "blocked.exe"}, set()),
        (ONE + b"\r\n", {"a.txt", "blocked.exe"}, set()),
        (ONE + bytes(100), {"a.txt", "blocked.exe"}, set()),
        (with_comment(b"made by PKZIP"), {"a.txt"}, set()),
        (b"GIF89a and so on" + ONE, {"a.txt", "blocked.exe"}, {"archive-junk"}),
        (ONE + b"trailing words", {"a.txt", "blocked.exe"}, {"archive-junk"}),
        (ONE + TWO, {"a.txt", "blocked.exe", "b.txt", "two.exe"}, {"archive-junk"}),
        (with_comment(TWO), {"a.txt", "b.txt", "two.exe"}, {"archive-junk"}),
        (inserted(b"words between"), {"a.txt", "blocked.exe"}, {"archive-junk"}),
        (inserted(TWO[: TWO.index(DIRECTORY)]), {"a.txt", "blocked.exe", "b.txt", "two.exe"}, {"archive-junk"}),
        (inserted(TWO), {"a.txt", "blocked.exe", "b.txt", "two.exe"}, {"archive-junk"}),
        (
            ONE.replace(b"blocked.exe", b"picture.jpg", 1),
            {"a.txt", "blocked.exe", "picture.jpg"},
            {"archive-name-mismatch"},
        ),
        (encrypted((6, 8)), {"blocked.exe"}, {"archive-encrypted"}),
        (encrypted((6,)), {"blocked.exe"}, {"archive-encrypted"}),
        (encrypted((8,)), {"blocked.exe"}, {"archive-encrypted"}),
        (zipped({"..\\..\\blocked.exe": b"x"}), {"..\\..\\blocked.exe"}, {"archive-odd-member-name"}),
        (zipped({"/etc/blocked.exe": b"x"}), {"/etc/blocked.exe"}, {"archive-odd-member-name"}),
        (zipped({"C:\\blocked.exe": b"x"}), {"C:\\blocked.exe"}, {"archive-odd-member-name"}),
        (zipped({"blocked\x07.exe": b"x"}), {"blocked\x07.exe"}, {"archive-odd-member-name"}),
        (zipped({"blocked\u202efdp.exe": b"x"}), {"blocked\u202efdp.exe"}, {"archive-odd-member-name"}),
        (unicode_path("notes.txt", "blocked.exe"), {"notes.txt", "blocked.exe"}, {"archive-odd-member-name"}),
        # What Info-ZIP does with a name that the old charset can or can't say.
        (unicode_path("\xfcbung.pdf", "\xfcbung.pdf"), {"\xfcbung.pdf"}, set()),
        (unicode_path("#U0431log.pdf", "\u0431log.pdf"), {"#U0431log.pdf", "\u0431log.pdf"}, set()),
        (zipped({"folder/report ..final.txt": b"x"}), {"folder/report ..final.txt"}, set()),
        (zipped({"\xfc.txt": b"x"}), {"\xfc.txt"}, set()),
    ],
)  # fmt: skip
def test_every_reading_counts(data: bytes, names: set[str], defects: set[str]) -> None:
    assert looked_at(data) == (names, defects, None)


@pytest.mark.parametrize(
    "data",
    [
        ONE[:AT_DIRECTORY],
        ONE[: AT_DIRECTORY + 30],
        ONE[: AT_DIRECTORY + 70],
        ONE[: ONE.index(END)],
        streamed()[: streamed().index(DIRECTORY)],
        b"words before" + ONE[:AT_DIRECTORY],
    ],
)
def test_members_without_directory_are_found_and_the_archive_still_is_an_error(data: bytes) -> None:
    names, defects, error = looked_at(data)
    assert names == {"a.txt", "blocked.exe"}
    assert "archive-truncated" in defects
    assert error is not None
    with pytest.raises(ArchiveError):
        member_names(data)


@pytest.mark.parametrize("data", [ONE, ONE + TWO, streamed(), inserted(TWO), streamed()[: streamed().index(DIRECTORY)]])
def test_contents_are_read_in_every_reading(data: bytes) -> None:
    assert b"MARKER in it" in [member.read() for member in Archive(data)]


def test_a_member_with_two_contents_shows_both() -> None:
    data = bytearray(zipped({"a.txt": b"words"}, zipfile.ZIP_STORED))
    struct.pack_into("<2I", data, 18, 3, 3)
    assert {member.read() for member in Archive(bytes(data))} == {b"words", b"wor"}


def test_a_password_that_one_header_denies_is_no_hindrance() -> None:
    (member,) = Archive(encrypted((8,)))
    assert member.is_encrypted
    assert member.read() == b"words" * 4


@pytest.mark.parametrize(
    ("method", "local_bytes", "central_bytes"),
    [(8, 0, 0), (12, 0, 0), (95, 0, 0), (0, 108, 0), (0, 0, 108), (8, len(deflated(b"plain words " * 9)), 0)],
)
def test_a_header_behind_the_end_of_a_content_is_found(method: int, local_bytes: int, central_bytes: int) -> None:
    names, defects, _ = looked_at(with_header_behind(method, local_bytes, central_bytes))
    assert names == {"a.txt", "blocked.exe"}
    assert "archive-junk" in defects


@pytest.mark.parametrize("is_pointed_at", [False, True])
def test_of_zip64_and_older_ends_that_differ_both_are_followed(is_pointed_at: bool) -> None:
    names, defects, _ = looked_at(with_two_directories(is_pointed_at=is_pointed_at))
    assert names == {"a.txt", "blocked.exe"}
    assert defects == {"archive-junk"}


@pytest.mark.parametrize("paths", [(b"blocked.exe", b"a.txt"), (b"a.txt", b"blocked.exe")])
def test_of_a_second_name_that_is_there_twice_both_count(paths: tuple[bytes, bytes]) -> None:
    names, defects, error = looked_at(with_path_twice(*paths))
    assert names == {"a.txt", "blocked.exe"}
    assert defects == {"archive-odd-member-name"}
    assert error is None


@pytest.mark.parametrize("level", [0, 9])
def test_an_archive_packed_in_another_is_no_junk_of_it(level: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as outer:
        outer.writestr("inner.zip", ONE)
    assert (ONE in file.getvalue()) == (level == 0)
    assert looked_at(file.getvalue()) == ({"inner.zip", "a.txt", "blocked.exe"}, {"archive-nested"}, None)


def test_a_zip64_that_says_everything_twice_is_sound() -> None:
    content = local(b"a.txt", b"words", 0, 5) + b"words"
    directory = central(b"a.txt", b"words", 0, 5)
    places = (len(directory), len(content))
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, *places)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, sum(places), 1)
    for older in (places, (0xFFFFFFFF, 0xFFFFFFFF), (places[0], 0xFFFFFFFF)):
        data = content + directory + record + locator + struct.pack("<4s4H2IH", END, 0, 0, 1, 1, *older, 0)
        assert looked_at(data) == ({"a.txt"}, set(), None)


def test_an_archive_stored_in_another_is_no_junk_of_it() -> None:
    archive = Archive(zipped({"inner.zip": ONE}, zipfile.ZIP_STORED))
    assert [(member.path, member.name) for member in archive] == [
        ((), "inner.zip"),
        (("inner.zip",), "a.txt"),
        (("inner.zip",), "blocked.exe"),
    ]
    assert archive.defects == ("archive-member", "archive-nested")


@given(st.integers(min_value=0, max_value=len(ONE) - 1), st.integers(min_value=1, max_value=255), st.booleans())
def test_no_changed_byte_makes_an_archive_read_as_empty(position: int, change: int, is_streamed: bool) -> None:
    data = bytearray(streamed() if is_streamed else ONE)
    data[position] ^= change
    archive = Archive(bytes(data))
    names = [name for member in archive for name in member.names]
    assert names or archive.error


@pytest.mark.parametrize("word", [b"PK\x03\x04", b"PK\x05\x06", b"PK\x01\x02"])
def test_an_image_with_a_magic_number_in_it_is_no_zip(word: bytes) -> None:
    assert archive_kind(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) + word + bytes(range(200, 256)) * 9) is None


@pytest.mark.parametrize("name", [":x.exe", "a.txt:x.exe"])
def test_a_member_with_a_colon_in_its_name_also_counts_as_it_is_saved(name: str) -> None:
    assert ".exe" in {extension(one) for one in member_names(zipped({name: b"x"}))}
