# SPDX-License-Identifier: GPL-3.0-or-later
"""S/MIME in messages: what is found within, what is told of it, and what becomes of it in a rebuild."""

import base64
import zlib

import pytest

from defang_worker.mime import parse
from defang_worker.mime.policy import PRESETS, Action, decide
from defang_worker.mime.views import Examination, examine
from tests.support import cms_maker as maker
from tests.support.archive_maker import zipped

HEAD = b"From: a@b.example\nSubject: x\nMIME-Version: 1.0\n"
SMIME = b"Content-Type: application/pkcs7-mime; name=smime.p7m\n"
FILE = b"Content-Type: application/octet-stream; name=blocked.exe\n\nsome words\n"


def message(cms: bytes, fields: bytes = SMIME) -> bytes:
    return HEAD + fields + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(cms)


def looked_at(cms: bytes, fields: bytes = SMIME) -> Examination:
    return examine(parse(message(cms, fields)))


def told(examination: Examination) -> list[tuple[str, str]]:
    return [(defect.name, defect.detail) for defect in examination.defects]


def found(examination: Examination) -> list[tuple[str, str, str]]:
    return [(shadow.view, shadow.content_type, shadow.filename) for shadow in examination.shadows]


def test_what_is_in_a_signed_message_is_a_part_of_a_view_of_its_own() -> None:
    examination = looked_at(maker.signed(FILE))
    assert found(examination) == [("smime", "application/octet-stream", "blocked.exe")]
    assert told(examination) == [("smime-content", "signed")]
    assert (examination.incomplete, examination.view_count) == (None, 1)
    assert examination.shadows[0].content == b"some words\n"


def test_a_signed_text_has_no_fault() -> None:
    examination = looked_at(maker.signed(b"Content-Type: text/plain\n\nsome words\n"))
    assert told(examination) == [("smime-content", "signed")]


def test_what_is_wrong_with_the_entity_within_is_told() -> None:
    examination = looked_at(maker.signed(b"Content-Type: text/plain\n" + FILE))
    assert "duplicate-content-type" in dict(told(examination))
    assert "blocked.exe" in {name for _, _, name in found(examination)}


def test_a_header_behind_other_lines_is_found_as_mail_clients_find_it() -> None:
    examination = looked_at(maker.signed(b"\nsome line\n" + FILE))
    assert "blocked.exe" in {name for _, _, name in found(examination)}


@pytest.mark.parametrize("name", ["bill.xml.p7m", "bill.xml.P7M ", "bill.xml.p7m.p7m", "bill.xml.p7z"])
def test_a_signed_document_is_a_file_with_the_name_that_it_is_saved_under(name: str) -> None:
    fields = f'Content-Type: application/octet-stream; name="{name}"\n'.encode()
    examination = looked_at(maker.signed(b"<?xml version='1.0'?>"), fields)
    assert ("smime", "application/octet-stream", "bill.xml") in found(examination)
    assert {"bill.xml"} == {shadow.filename for shadow in examination.shadows}
    assert told(examination)[-1] == ("smime-content", "signed")


def test_a_document_that_might_be_an_entity_is_shown_as_both() -> None:
    fields = b"Content-Type: application/octet-stream; name=notes.exe.p7m\n"
    names = {name for _, _, name in found(looked_at(maker.signed(FILE), fields))}
    assert names == {"notes.exe", "blocked.exe"}


@pytest.mark.parametrize("armor", [b"%s", b"\n%s", b"-----BEGIN PKCS7-----\n%s-----END PKCS7-----\n"])
def test_a_signed_document_may_be_stored_in_base64(armor: bytes) -> None:
    stored = armor % base64.encodebytes(maker.signed(FILE))
    examination = looked_at(stored, b"Content-Type: application/octet-stream; name=letter.p7m\n")
    assert told(examination) == [("smime-content", "signed")]
    assert found(examination)[0][2] == "blocked.exe"


def test_the_content_of_another_name_and_type_is_found_by_its_first_bytes() -> None:
    assert found(looked_at(maker.signed(FILE), b"Content-Type: image/png\n"))[0][2] == "blocked.exe"


def test_of_bytes_that_merely_begin_so_nothing_is_told() -> None:
    cut = maker.signed(FILE)[:30]
    assert told(looked_at(cut, b"Content-Type: application/octet-stream\n")) == []


@pytest.mark.parametrize("content", [maker.signed(None), b""])
def test_a_signature_or_a_certificate_alone_is_no_fault(content: bytes) -> None:
    assert told(looked_at(content)) == []
    assert looked_at(content).incomplete is None


@pytest.mark.parametrize("kind", [maker.ENVELOPED, maker.ENCRYPTED, maker.AUTH_ENVELOPED])
def test_encrypted_mail_is_told_and_delivered_by_every_policy(kind: bytes) -> None:
    examination = looked_at(maker.secret(kind))
    assert [name for name, _ in told(examination)] == ["smime-encrypted"]
    actions = {decide(policy, examination.defects, examination.incomplete) for policy in PRESETS.values()}
    assert actions == {Action.DELIVER}


def test_encrypted_mail_in_a_signed_one_is_told() -> None:
    inside = SMIME + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(maker.secret())
    assert told(looked_at(maker.signed(inside))) == [("smime-content", "signed"), ("smime-encrypted", "enveloped")]


@pytest.mark.parametrize(
    "cms",
    [
        maker.signed(FILE)[:-40],
        maker.cms(maker.SIGNED, maker.VERSION),
        maker.cms(maker.COMPRESSED, maker.compressed_data(b"no zlib")),
        maker.cms(maker.COMPRESSED, maker.compressed_data(zlib.compress(FILE * 9)[:30])),
        b"some words",
        bytes(100),
    ],
    ids=["cut off", "wrong element", "not packed", "packed and cut off", "text", "bytes"],
)
def test_what_cannot_be_read_is_told_and_refused(cms: bytes) -> None:
    examination = looked_at(cms)
    assert [name for name, _ in told(examination)] == ["smime-unreadable"]
    assert examination.incomplete == "smime-unreadable"
    assert decide(PRESETS["observe"], examination.defects, examination.incomplete) is Action.REFUSE


def test_text_that_has_the_type_alone_is_told() -> None:
    examination = examine(parse(HEAD + SMIME + b"\nSome words, and no more.\n"))
    assert [name for name, _ in told(examination)] == ["smime-unreadable"]


def test_a_file_that_has_the_name_alone_is_told_and_delivered() -> None:
    examination = looked_at(bytes(100), b"Content-Type: application/octet-stream; name=a.p7m\n")
    assert told(examination) == [("smime-unreadable", "no CMS")]
    assert examination.incomplete is None
    assert decide(PRESETS["default"], examination.defects, None) is Action.DELIVER


def test_an_archive_under_the_name_is_looked_into() -> None:
    zipped = b"PK\x05\x06" + bytes(18)
    examination = looked_at(zipped, b"Content-Type: application/octet-stream; name=a.p7m\n")
    assert {"smime-unreadable", "archive-member"} <= set(dict(told(examination)))


def test_a_bomb_ends_at_the_limit_of_archives() -> None:
    cms = maker.compressed(b"Content-Type: text/plain\n\n" + bytes(8 * 1024 * 1024))
    examination = looked_at(cms)
    assert ("smime-unreadable", "expands to more than is allowed") in told(examination)
    assert examination.incomplete == "smime-size"
    assert all(len(shadow.content) <= 200 * len(cms) + 1024 * 1024 for shadow in examination.shadows)


def test_what_was_packed_well_and_is_no_bomb_is_read_whole() -> None:
    text = b"".join(b"line %d of many that are packed well\r\n" % number for number in range(100_000))
    examination = looked_at(maker.compressed(b"Content-Type: text/plain\n\n" + text))
    assert examination.incomplete is None
    assert [shadow.content for shadow in examination.shadows] == [text]


def test_layers_in_layers_are_taken_off() -> None:
    packed = maker.compressed(maker.signed_data(maker.element(maker.STRING, FILE)), maker.SIGNED)
    assert found(looked_at(packed))[0][2] == "blocked.exe"


def test_layers_in_layers_end_at_a_limit() -> None:
    data = maker.element(maker.STRING, FILE)
    for _ in range(20):
        data = maker.element(maker.STRING, maker.signed_data(data, maker.SIGNED))
    examination = looked_at(maker.cms(maker.SIGNED, maker.signed_data(data, maker.SIGNED)))
    assert ("smime-unreadable", "more than 10 layers") in told(examination)
    assert examination.incomplete == "smime-unreadable"


def signed_times(count: int) -> bytes:
    entity = FILE
    for _ in range(count):
        entity = SMIME + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(maker.signed(entity))
    return HEAD + entity


def test_entities_in_entities_are_looked_into() -> None:
    examination = examine(parse(signed_times(4)))
    assert "blocked.exe" in {name for _, _, name in found(examination)}
    assert examination.incomplete is None


def test_entities_in_entities_end_at_a_limit() -> None:
    assert examine(parse(signed_times(40))).incomplete == "embedded-levels"


def test_a_message_in_a_file_in_a_message_is_looked_into() -> None:
    """What is found in the contents of explored parts is explored in its turn."""
    letter = HEAD + b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n"
    letter += base64.encodebytes(maker.signed(FILE))
    leaf = HEAD + b"Content-Type: application/octet-stream\n\n" + letter
    assert "blocked.exe" in {name for _, _, name in found(examine(parse(leaf)))}


def test_large_signed_mail_is_decoded_and_looked_into() -> None:
    large = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + b"some words in a line\n" * 20_000
    examination = looked_at(maker.signed(large + b"--b\n" + FILE + b"--b--\n"))
    assert "blocked.exe" in {name for _, _, name in found(examination)}


def test_a_part_that_only_another_reading_has_keeps_its_view() -> None:
    """S/MIME in an epilogue: that readers disagree about it holds for what is within, too."""
    part = b"\n--b\n" + SMIME + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(maker.signed(FILE))
    body = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nwords\n--b--\n" + part + b"--b--\n"
    views = {shadow.filename: shadow.view for shadow in examine(parse(HEAD + body)).shadows}
    assert views["blocked.exe"] == views["smime.p7m"] != "smime"


@pytest.mark.parametrize("fields", [SMIME, b"Content-Type: application/octet-stream; name=smime.p7m\n"])
@pytest.mark.parametrize("first", [b"\n", b"\xef\xbb\xbf", b"From a@b.example\n", b"X_Y: y\n", b"a stray line\n"])
def test_an_entity_is_found_behind_any_first_line_by_type_or_name(fields: bytes, first: bytes) -> None:
    assert "blocked.exe" in {name for _, _, name in found(looked_at(maker.signed(first + FILE), fields))}


@pytest.mark.parametrize("before", [b"", b" ", b"Dear all,\n\nhere it is:\n", b"subject=/CN=Ann\n"])
@pytest.mark.parametrize("name", [b"smime.p7m", b"bill.xml.p7m"])
@pytest.mark.parametrize("encoding", [b"7bit", b"base64"])
def test_pem_is_found_behind_any_text(before: bytes, name: bytes, encoding: bytes) -> None:
    pem = b"-----BEGIN PKCS7-----\n%b-----END PKCS7-----\n" % base64.encodebytes(maker.signed(FILE))
    fields = b"Content-Type: application/octet-stream; name=%b\nContent-Transfer-Encoding: %b\n\n" % (name, encoding)
    body = base64.encodebytes(before + pem) if encoding == b"base64" else before + pem
    assert "blocked.exe" in {shadow.filename for shadow in examine(parse(HEAD + fields + body)).shadows}


def test_base64_behind_a_blank_is_found_by_its_name() -> None:
    fields = b"Content-Type: application/octet-stream; name=smime.p7m\n\n "
    examination = examine(parse(HEAD + fields + base64.encodebytes(maker.signed(FILE))))
    assert "blocked.exe" in {shadow.filename for shadow in examination.shadows}


def test_a_document_with_the_field_of_an_entity_is_looked_into_as_well() -> None:
    document = zipped({"blocked.exe": b"x", "notes.txt": b"x" * 40 + b"\nContent-Type: text/plain\n"})
    fields = b"Content-Type: application/octet-stream; name=papers.zip.p7m\n"
    names: list[str] = []
    examine(parse(message(maker.signed(document), fields)), lambda _, archive: names.extend(m.name for m in archive))
    assert names == ["blocked.exe", "notes.txt"]
