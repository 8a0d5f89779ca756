# SPDX-License-Identifier: GPL-3.0-or-later
"""What begins as an archive does is none for that alone; what cannot be read here is not damaged for that."""

import base64
import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import parse
from defang_worker.mime.archives import Archive, ArchiveError, ArchiveKind, ArchiveLimits, Reason
from defang_worker.mime.archives import kinds as archive_kinds
from defang_worker.mime.defects import Severity
from defang_worker.mime.policy import OBSERVE, STRICT, Action, decide
from defang_worker.mime.views import Examination, examine
from tests.support.archive_maker import by_libarchive, cabinet, rar4, rar5, tarred, zipped

Packer = Callable[[dict[str, bytes]], bytes]
NOISE = random.Random(3).randbytes(3_000)
FILES = {"first.txt": b"plain words " * 40, "second.bin": NOISE}
MAGICS = (
    b"\x1f\x8b\x08\0", b"\x1f\x9d\x90", b"BZh91AY", b"MZ", b"PK\x03\x04", b"PK\x05\x06", b"PK\x01\x02", b"RE~^",
    b"\x5d\0\0\x80\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"LZIP\x01", b"\xfd7zXZ\0", b"!<arch>\n", b"xar!\0",
    b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\x01\0", b"MSCF\0\0\0\0", b"\x60\xea",
    b"\x60\xea\x20\0\x1e\x0b\x01\0\x02",
)  # fmt: skip


def attached(content: bytes, name: str = "", content_type: str = "application/octet-stream") -> bytes:
    disposition = f'Content-Disposition: attachment; filename="{name}"\n' if name else ""
    header = f"MIME-Version: 1.0\nContent-Type: {content_type}\nContent-Transfer-Encoding: base64\n{disposition}\n"
    return header.encode() + base64.encodebytes(content)


def examined(content: bytes, name: str = "", content_type: str = "application/octet-stream") -> Examination:
    return examine(parse(attached(content, name, content_type)))


def faults(examination: Examination) -> list[str]:
    return [defect.name for defect in examination.defects if defect.severity > Severity.INFO]


def arj(name: str, content: bytes) -> bytes:
    """Two headers, each with its checksum, and the stored content."""

    def header(kind: int, text: str, size: int) -> bytes:
        fields = struct.pack("<8B6IHHH", 30, 11, 1, 0, 0, 0, kind, 0, 0, size, size, zlib.crc32(content), 0, 0, 0, 0, 0)
        basic = fields[:30] + text.encode() + b"\0\0"
        return b"\x60\xea" + struct.pack("<H", len(basic)) + basic + struct.pack("<IH", zlib.crc32(basic), 0)

    return header(2, "papers.arj", 0) + header(0, name, len(content)) + content + b"\x60\xea\0\0"


ACE = b"\x12\x34\x31\0\0\0\x90**ACE**\x14\x14\x02\0" + NOISE


@given(magic=st.sampled_from(MAGICS), rest=st.binary(max_size=200))
def test_a_file_that_only_begins_as_an_archive_is_none(magic: bytes, rest: bytes) -> None:
    examination = examined(magic + rest)
    assert (faults(examination), examination.incomplete) == ([], None)


@pytest.mark.parametrize("magic", MAGICS)
def test_a_file_in_an_archive_that_only_begins_as_one_is_none(magic: bytes) -> None:
    examination = examined(zipped({"words.dat": magic + NOISE}), "papers.zip")
    assert (faults(examination), examination.incomplete) == ([], None)


def tar_of_blanks(name: str) -> bytes:
    """A tar whose first header has no NUL in it: programs of old filled fields so, and say nothing of other bytes."""
    header = bytearray(tarred({name.rjust(100, "d"): b"words"})[:512].replace(b"\0", b" "))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o  " % sum(header)
    return bytes(header) + b"words".ljust(512, b"\0") + bytes(1024)


LIKE_TEXT = {
    "ar": by_libarchive({"blocked.exe": b"words " * 200}, "ar_svr4"),
    "cpio": by_libarchive({"n" * 500 + "/blocked.exe": b"x"}, "cpio_newc"),
    "tar": tar_of_blanks("/blocked.exe"),
    "iso": b"A line of text.\n" * 2048 + by_libarchive({"blocked.exe": b"x"}, "iso9660")[32_768:],
}


@pytest.mark.parametrize("name", ["papers.dat", ""])
@pytest.mark.parametrize("kind", LIKE_TEXT)
def test_an_archive_that_begins_as_text_does_is_looked_into(kind: str, name: str) -> None:
    content = LIKE_TEXT[kind]
    assert b"\0" not in content[:512]
    names: list[str] = []
    tree = parse(attached(content, name))
    examination = examine(tree, lambda _, archive: names.extend(member.name for member in archive))
    assert "blocked.exe" in {name.rpartition("/")[2].lower() for name in names}
    assert examination.incomplete is None


@pytest.mark.parametrize(
    "before", [b"Some text.\r\n", b"Some text.\r\n" * 80, b"MZ" + bytes(900), b"x" + b"Rar!\x1a\x07\0" * 3]
)
@pytest.mark.parametrize(
    ("archive", "name"),
    [
        (rar4({"blocked.exe": b"x"}), "papers.rar"),
        (rar5({"blocked.exe": b"x"}), "papers.RAR"),
        (by_libarchive({"blocked.exe": b"x"}, "7zip"), "papers.7z"),
    ],
    ids=["rar4", "rar5", "7z"],
)
def test_behind_other_bytes_an_archive_is_found_where_its_name_has_programs_search(
    before: bytes, archive: bytes, name: str
) -> None:
    names: list[str] = []
    tree = parse(attached(before + archive, name))
    examination = examine(tree, lambda _, archive: names.extend(member.name for member in archive))
    assert "blocked.exe" in names
    assert "archive-junk" in faults(examination)


@pytest.mark.parametrize("mark", [b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\x01\0", b"7z\xbc\xaf\x27\x1c\0\x04"])
@pytest.mark.parametrize("name", ["papers.rar", "papers.7z"])
def test_the_mark_alone_makes_no_archive_behind_other_bytes(mark: bytes, name: str) -> None:
    examination = examined(b"The file was removed.\n" + mark + NOISE, name)
    assert (faults(examination), examination.incomplete) == ([], None)


def test_a_tar_whose_first_name_is_the_header_of_a_message_is_read_as_both() -> None:
    names: list[str] = []
    content = tarred({"From: a\nMIME-Version: 1.0\nSubject: x\n\nhi": b"x", "blocked.exe": b"y"})
    examination = examine(parse(attached(content)), lambda _, archive: names.extend(member.name for member in archive))
    assert "blocked.exe" in names
    assert "message-in-leaf" in faults(examination)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("papers.gz", "application/octet-stream"), ("papers.tgz", "image/png"), ("", "application/gzip")],
)
def test_what_is_called_an_archive_and_cannot_be_read_is_damaged(name: str, content_type: str) -> None:
    examination = examined(b"\x1f\x8b\x08\0" + NOISE, name, content_type)
    assert "archive-truncated" in faults(examination)
    assert examination.incomplete == "archive-truncated"


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(NOISE)[:2_000],
        by_libarchive(FILES, "7zip")[:-40],
        by_libarchive(FILES, "pax", "xz")[:-400],
        rar4(FILES)[:-100],
        rar5(FILES)[:-100],
        cabinet(FILES)[:-100],
        zipped(FILES)[:1_000],
        tarred(FILES)[:1_500],
    ],
    ids=["gzip", "7z", "xz", "rar4", "rar5", "cab", "zip", "tar"],
)
def test_an_archive_cut_off_is_damaged_whatever_it_is_called(content: bytes) -> None:
    examination = examined(content, "notes.dat")
    assert "archive-truncated" in faults(examination)
    assert decide(OBSERVE, examination.defects, examination.incomplete) is Action.REFUSE


@pytest.mark.parametrize("size", [3_000, 300_000])
def test_a_compressed_text_cut_off_at_its_end_is_damaged_and_read_so_far(size: int) -> None:
    text = b"".join(b"line %d\n" % number for number in range(size // 8))
    packed = gzip.compress(text)[:-12]
    assert "archive-truncated" in faults(examined(packed, "words.txt.gz"))
    (member,) = Archive(packed)
    with pytest.raises(ArchiveError) as caught:
        member.read()
    assert len(caught.value.partial) > size // 2
    assert text.startswith(caught.value.partial)


@pytest.mark.parametrize(
    ("content", "name"), [(arj("blocked.exe", NOISE), "papers.arj"), (ACE, "papers.ace"), (ACE, "notes.dat")]
)
def test_a_kind_that_cannot_be_looked_into_is_not_called_damaged(content: bytes, name: str) -> None:
    examination = examined(content, name)
    assert examination.incomplete == "archive-unreadable"
    assert "archive-truncated" not in faults(examination)
    assert decide(OBSERVE, examination.defects, examination.incomplete) is Action.DELIVER
    assert decide(STRICT, examination.defects, examination.incomplete) is Action.REFUSE


def with_method(method: int) -> bytes:
    """A zip whose members are said to be packed by this method."""
    data = bytearray(zipped({"words.txt": b"plain words"}))
    for magic, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = data.index(magic) + offset
        data[at : at + 2] = method.to_bytes(2, "little")
    return bytes(data)


def test_a_method_that_is_not_known_here_is_not_called_damage() -> None:
    archive = Archive(with_method(9))
    assert [member.name for member in archive] == ["words.txt"]
    assert archive.error is not None
    assert archive.error.reason is Reason.UNSUPPORTED
    assert examined(with_method(9), "papers.zip").incomplete == "archive-unreadable"


@pytest.mark.parametrize("first", [with_method(9), ACE], ids=["method", "kind"])
def test_what_cannot_be_read_hides_no_damage_elsewhere(first: bytes) -> None:
    cut = zipped(FILES)[:1_000]
    part = "--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n%s\n"
    parts = "".join(part % base64.encodebytes(content).decode() for content in (first, cut))
    raw = f"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n{parts}--b--\n"
    assert examine(parse(raw.encode())).incomplete == "archive-truncated"
    assert examined(zipped({"a.ace": ACE, "b.zip": cut}), "papers.zip").incomplete == "archive-truncated"


@pytest.mark.parametrize("before", [b"MZ" + NOISE * 20, b"GIF89a" + NOISE, b"words " * 20_000, b"\xff\xd8\xff" + NOISE])
@pytest.mark.parametrize(
    "pack",
    [zipped, lambda files: tarred(files, "w:gz"), lambda files: by_libarchive(files, "7zip")],
    ids=["zip", "tar", "7z"],
)
def test_a_zip_behind_other_bytes_is_found_within_an_archive(before: bytes, pack: Packer) -> None:
    archive = Archive(pack({"a.dat": before + zipped({"blocked.exe": b"x"})}))
    assert "blocked.exe" in {member.name for member in archive}
    assert (archive.error, "archive-junk" in archive.defects) == (None, True)


def test_what_is_looked_at_for_such_a_zip_is_bounded() -> None:
    limits = ArchiveLimits(max_expanded_bytes=1_000_000)
    archive = Archive(
        zipped({"a.dat": b"MZ" + bytes(900_000), "b.dat": b"MZ" + bytes(900_000) + zipped(FILES)}), limits
    )
    assert [member.name for member in archive] == ["a.dat", "b.dat"]
    assert archive.error is None


def with_flags(data: bytes, flags: int, method: int | None = None) -> bytes:
    made = bytearray(data)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = made.index(magic) + offset
        made[at : at + 2] = flags.to_bytes(2, "little")
        if method is not None:
            made[at + 2 : at + 4] = method.to_bytes(2, "little")
    return bytes(made)


CLOSED = {
    "zip crypto": with_flags(zipped({"blocked.exe": NOISE}), 0x1),
    "strong": with_flags(zipped({"blocked.exe": NOISE}), 0x41),
    "aes": with_flags(zipped({"blocked.exe": NOISE}), 0x1, 99),
    "behind a picture": b"GIF89a" + NOISE + with_flags(zipped({"blocked.exe": NOISE}), 0x1),
}


@pytest.mark.parametrize("outer", ["", "zip", "tar"])
@pytest.mark.parametrize("kind", CLOSED)
def test_an_encrypted_zip_tells_its_names_wherever_it_is(kind: str, outer: str) -> None:
    data = CLOSED[kind]
    if outer:
        data = zipped({"a.dat": data}) if outer == "zip" else tarred({"a.dat": data}, "w:gz")
    assert "blocked.exe" in {member.name for member in Archive(data)}
    examination = examined(data, "papers.zip")
    assert "archive-encrypted" in faults(examination)


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("other", [b"picture.jpg", b"blocked.jpg", b"BLOCKED.TXT", b"blocked\0exe"])
def test_two_names_of_one_member_are_both_told(other: bytes, *, outer: bool) -> None:
    data = zipped({"blocked.exe": b"x"})
    place = data.index(b"blocked.exe")
    data = data[:place] + other + data[place + len(other) :]
    data = zipped({"a.dat": data}) if outer else data
    names = {name for member in Archive(data) for name in member.names}
    assert {"blocked.exe", other.partition(b"\0")[0].decode()} <= names
    assert "archive-name-mismatch" in faults(examined(data, "papers.zip"))


# Archives of every day


def streamed(files: dict[str, bytes]) -> bytes:
    """A zip written to a pipe: sizes stand behind the contents."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.made = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.made += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return bytes(pipe.made)


def large_format(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
    return file.getvalue()


OFFICE = {
    "[Content_Types].xml": b"<Types/>",
    "_rels/.rels": b"<Relationships/>",
    "word/document.xml": b"<w:document/>" * 200,
    "word/media/image1.png": b"\x89PNG\r\n\x1a\n" + NOISE,
    "word/embeddings/oleObject1.bin": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE,
}
OPEN_DOCUMENT = {
    "mimetype": b"application/vnd.oasis.opendocument.text",
    "content.xml": b"<office/>" * 99,
    "Pictures/": b"",
}
OUTLOOK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE + zipped(FILES) + NOISE
OPENXML = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
HONEST = [
    ("papers.zip", "application/zip", zipped(FILES)),
    ("stored.zip", "application/zip", zipped(FILES, zipfile.ZIP_STORED)),
    ("bzip2.zip", "application/zip", zipped(FILES, zipfile.ZIP_BZIP2)),
    ("lzma.zip", "application/zip", zipped(FILES, zipfile.ZIP_LZMA)),
    ("streamed.zip", "application/x-zip-compressed", streamed(FILES)),
    ("zip64.zip", "application/zip", large_format(FILES)),
    ("empty.zip", "application/zip", zipped({})),
    ("folders.zip", "application/zip", zipped({"a/": b"", "a/b.txt": b"x", "a/empty": b""})),
    ("letter.docx", OPENXML, zipped(OFFICE)),
    ("letter.docx", "application/octet-stream", streamed(OFFICE)),
    ("table.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", zipped(OFFICE)),
    ("letter.odt", "application/vnd.oasis.opendocument.text", zipped(OPEN_DOCUMENT, zipfile.ZIP_STORED)),
    ("book.epub", "application/epub+zip", zipped({"mimetype": b"application/epub+zip", "a.xhtml": b"<p/>"})),
    (
        "tool.jar",
        "application/java-archive",
        streamed({"META-INF/": b"", "META-INF/MANIFEST.MF": b"\n", "A.class": NOISE}),
    ),
    (
        "app.apk",
        "application/vnd.android.package-archive",
        zipped({"AndroidManifest.xml": NOISE, "classes.dex": NOISE}),
    ),
    ("mail.msg", "application/vnd.ms-outlook", OUTLOOK),
    ("papers.7z", "application/x-7z-compressed", by_libarchive(FILES, "7zip")),
    ("papers.rar", "application/vnd.rar", rar5(FILES)),
    ("old.rar", "application/x-rar-compressed", rar4(FILES)),
    ("papers.cab", "application/vnd.ms-cab-compressed", cabinet(FILES)),
    ("papers.tar", "application/x-tar", tarred(FILES)),
    ("papers.tar.gz", "application/gzip", tarred(FILES, "w:gz")),
    ("papers.tar.bz2", "application/x-bzip2", tarred(FILES, "w:bz2")),
    ("papers.tar.xz", "application/x-xz", tarred(FILES, "w:xz")),
    ("papers.tar.zst", "application/zstd", by_libarchive(FILES, "pax", "zstd")),
    ("report.xml.gz", "application/gzip", gzip.compress(b"<feedback/>" * 400)),
    ("large.log.gz", "application/gzip", gzip.compress(b"a line of a log\n" * 400_000)),
    ("zeros.gz", "application/gzip", gzip.compress(bytes(30_000_000), 9)),
    ("disk.iso", "application/octet-stream", by_libarchive(FILES, "iso9660")),
    ("tool.deb", "application/vnd.debian.binary-package", by_libarchive({"debian-binary": b"2.0\n"}, "ar_bsd")),
]


@pytest.mark.parametrize(("name", "content_type", "content"), HONEST, ids=[f"{one[0]}-{one[1][-9:]}" for one in HONEST])
def test_archives_of_every_day_have_no_fault(name: str, content_type: str, content: bytes) -> None:
    examination = examined(content, name, content_type)
    assert (faults(examination), examination.incomplete, examination.view_count) == ([], None, 1)


def test_every_kind_of_archive_has_its_magic_here() -> None:
    """So that a new one is tried, too: the others have more to show than a few first bytes."""
    tried = {archive_kinds.kind_at_start(magic) for magic in MAGICS}
    others = {ArchiveKind.TAR, ArchiveKind.CPIO, ArchiveKind.ISO, ArchiveKind.LHA, ArchiveKind.ACE, ArchiveKind.MESSAGE}
    assert tried | others >= set(ArchiveKind) - {ArchiveKind.LZMA, ArchiveKind.BZIP2}
