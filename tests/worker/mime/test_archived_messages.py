# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages in archives: what is attached there is a member, whichever way it is packed, and the limits hold."""

import base64
import io
import zipfile

import pytest

from defang_worker.mime import parse
from defang_worker.mime.archives import Archive, ArchiveError, ArchiveKind, ArchiveLimits, Reason, member_names, members
from defang_worker.mime.views import examine
from defang_worker.structure.describe import describe
from tests.support import cms_maker
from tests.support.archive_maker import by_libarchive, tarred, zipped
from tests.support.tnef_maker import START
from tests.support.tnef_maker import attachment as in_tnef

HEAD = b"From: a@b.example\nTo: c@d.example\nSubject: x\nMIME-Version: 1.0\n"
PARTS = b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nHello\n"
FILE = b"Content-Type: application/octet-stream; name=blocked.exe\n\nsome words\n"
LETTER = HEAD + PARTS + b"--b\n" + FILE + b"--b--\n"


def with_attachment(content: bytes, name: str) -> bytes:
    fields = f"Content-Type: application/octet-stream; name={name}\nContent-Transfer-Encoding: base64\n\n"
    return HEAD + PARTS + b"--b\n" + fields.encode() + base64.encodebytes(content) + b"--b--\n"


def paths(archive: bytes) -> list[str]:
    return ["/".join((*member.path, member.name)) for member in members(archive)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("letter.eml", LETTER),
        ("letter.eml", LETTER.replace(b"\n", b"\r\n")),
        ("letter.dat", LETTER),
        ("letter.eml", FILE),
        ("letter.eml", HEAD + FILE),
        ("letter.eml", b"X_Y: y\n" + FILE),
        ("letter.eml", b"a stray line\n" + FILE),
        ("letter.eml", b"X_Y: " + b"y" * 40_000 + b"\n" + FILE),
        ("letter.mht", b"\n" + LETTER),
        ("letter.eml", ("\ufeff" + LETTER.decode()).encode("utf-16-le")),
        ("letter.eml", HEAD + b"Content-Type: message/rfc822\n\n" + LETTER),
        ("letter.eml", HEAD + b"Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=b\n\n--b\n" + FILE),
        ("all.mbox", b"From a@b Mon Jun  7 09:30:00 2026\n" + HEAD + b"\nx\n\nFrom a@b Mon Jun  7\n" + LETTER),
        ("winmail.dat", START + in_tnef(b"some words", b"blocked.exe\0")),
        ("letter.eml", with_attachment(START + in_tnef(b"some words", b"blocked.exe\0"), "winmail.dat")),
        ("smime.p7m", cms_maker.signed(FILE)),
        ("smime", cms_maker.compressed(FILE)),
        ("blocked.exe.p7m", cms_maker.signed(b"some words")),
        ("letter.eml", with_attachment(cms_maker.signed(FILE), "smime.p7m")),
    ],
)
def test_what_is_in_a_message_in_an_archive_is_a_member(name: str, content: bytes) -> None:
    for archive in (zipped({name: content}), tarred({name: content}), by_libarchive({name: content}, "7zip")):
        found = [member for member in members(archive) if "blocked.exe" in member.names]
        assert found
        assert found[0].kind is ArchiveKind.MESSAGE
        assert found[0].path == (name,)
        assert found[0].read().rstrip() == b"some words"


def test_every_name_of_a_part_counts_and_that_of_a_container() -> None:
    fields = b'Content-Type: message/rfc822; name="inner.exe"\nContent-Disposition: attachment; filename="in.com"\n\n'
    letter = HEAD + PARTS + b"--b\n" + fields + LETTER + b"--b--\n"
    assert {"inner.exe", "in.com", "blocked.exe"} <= set(member_names(zipped({"a.eml": letter})))


def test_a_zip_in_a_message_in_a_zip_is_looked_into() -> None:
    letter = with_attachment(zipped({"blocked.exe": b"x"}), "papers.zip")
    assert paths(zipped({"a.eml": letter})) == [
        "a.eml",
        "a.eml/",
        "a.eml/papers.zip",
        "a.eml/papers.zip/blocked.exe",
    ]
    message = with_attachment(zipped({"a.eml": letter}), "mail.zip")
    names = [name for part in describe(message).parts for name in part.filenames]
    assert "blocked.exe" in names


def test_honest_mail_in_an_archive_has_no_fault() -> None:
    signed = cms_maker.signed(b"Content-Type: text/plain\n\nHello\n")
    archive = zipped({"a.eml": LETTER, "b.eml": LETTER.replace(b"\n", b"\r\n"), "c.p7m": signed, "d.txt": b"Dear: x\n"})
    examination = examine(parse(with_attachment(archive, "mail.zip")))
    told = {defect.name for defect in examination.defects}
    assert told == {"archive-member", "nested-message"}
    assert (examination.incomplete, examination.view_count) == (None, 1)


def test_a_text_that_is_no_message_is_not_opened() -> None:
    assert paths(zipped({"a.txt": b"Subject: x\n\nwords", "b.eml": b"no message"})) == ["a.txt", "b.eml"]


def error_of(archive: Archive) -> ArchiveError:
    assert list(archive)
    assert archive.error is not None
    return archive.error


def test_parts_count_as_members() -> None:
    letter = HEAD + PARTS + b"--b\n\nx\n" * 100 + b"--b--\n"
    error = error_of(Archive(zipped({"a.eml": letter}), ArchiveLimits(max_members=50)))
    assert error.reason is Reason.MEMBERS


def test_messages_and_archives_in_one_another_end_at_a_limit() -> None:
    letter = LETTER
    for _ in range(3):
        letter = with_attachment(zipped({"a.eml": letter}), "b.zip")
    error = error_of(Archive(zipped({"a.eml": letter})))
    assert error.reason is Reason.DEPTH


def test_a_bomb_in_a_message_ends_at_the_limits_of_the_archive() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.eml", HEAD + b"\n" + b"word " * 2_000_000)
    error = error_of(Archive(file.getvalue()))
    assert error.reason is Reason.RATIO


def test_packed_mail_shares_the_limits_of_the_archive() -> None:
    text = b"".join(b"line %d of many\r\n" % number for number in range(40_000))
    letters = {f"{number}.p7m": cms_maker.compressed(b"Content-Type: text/plain\n\n" + text) for number in range(6)}
    error = error_of(Archive(zipped(letters, zipfile.ZIP_STORED), ArchiveLimits(max_expanded_bytes=3 * len(text))))
    assert error.defect == "nesting-too-deep"


def test_what_could_not_be_seen_of_a_message_is_an_error() -> None:
    letter = HEAD + b"Content-Type: application/pkcs7-mime\n\nno S/MIME\n"
    error = error_of(Archive(zipped({"a.eml": letter})))
    assert error.reason is Reason.DAMAGED


def test_members_of_a_message_are_drawn_without_those_that_have_no_name() -> None:
    facts = describe(with_attachment(zipped({"a.eml": LETTER}), "mail.zip"))
    assert facts.parts[-1].members == ("a.eml", "a.eml/blocked.exe")
