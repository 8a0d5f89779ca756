# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that are the content of a leaf: their parts, their own faults, and the messages behind them in an mbox."""

import base64

import pytest

from defang_worker.mime import parse
from defang_worker.mime.defects import Severity
from defang_worker.mime.views import examine
from tests.worker.mime.everything import everything

HEADER = "From: a@b.example\nTo: c@d.example\nSubject: x\nMIME-Version: 1.0\n"
LEAF = HEADER + "Content-Type: application/octet-stream\nContent-Disposition: attachment\n\n"
FILE = HEADER + "Content-Type: application/octet-stream; name=%s\n\nwords\n\n"
MBOX_LINE = "From a@b.example Mon Jun  7 09:30:00 2026\n"


def called(content: bytes, content_type: str, encoding: str, name: str = "a.eml") -> bytes:
    """Return a message whose second part is this content."""
    body = base64.encodebytes(content) if encoding == "base64" else content
    fields = f'Content-Type: {content_type}; name="{name}"\nContent-Transfer-Encoding: {encoding}\n\n'
    start = HEADER + "Content-Type: multipart/mixed; boundary=outer\n\n--outer\n\nHello\n--outer\n" + fields
    return start.encode() + body + b"\n--outer--\n"


def faults(message: str) -> set[tuple[str, str]]:
    return {(defect.name, defect.part) for defect in examine(parse(message.encode())).defects}


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ('Content-Disposition: attachment; filename="notes.txt"; filename="blocked.exe"\n', "duplicate-parameter"),
        ("Content-Type: text/plain\nContent-Type: text/html\n", "duplicate-content-type"),
        ("Content-Type : text/plain\n", "space-before-colon"),
        ("Content-Type: multipart/mixed\n", "boundary-missing"),
    ],
)
def test_what_is_wrong_with_a_message_in_a_leaf_is_told_of_the_leaf(fields: str, fault: str) -> None:
    inner = HEADER.replace("Subject: x\n", "Subject: x\n" + fields) + "\nwords\n"
    assert {("message-in-leaf", "1"), (fault, "1")} <= faults(LEAF + inner)


def test_a_well_formed_message_in_a_leaf_has_no_other_fault() -> None:
    assert {name for name, _ in faults(LEAF + FILE % "a.txt")} == {"message-in-leaf"}


def test_all_messages_of_an_mbox_are_read() -> None:
    names = ["one.exe", "two.exe", "three.exe"]
    mbox = "".join(MBOX_LINE + FILE % name for name in names)
    assert set(names) <= everything((LEAF + mbox).encode()).names
    assert set(names) <= everything((LEAF + mbox).replace("\n", "\r\n").encode()).names


def test_an_mbox_of_one_message_is_that_message() -> None:
    assert everything((LEAF + MBOX_LINE + FILE % "one.exe").encode()).names == {"one.exe"}


def test_a_sentence_that_begins_with_from_begins_no_message() -> None:
    letter = MBOX_LINE + HEADER + "\nHello\n\nFrom there on: nothing\nname: x\n\nFrom here\nwe go\n"
    assert everything((LEAF + letter).encode()).names == set()


def test_thousands_of_messages_in_an_mbox_end_at_a_limit_or_are_read() -> None:
    mbox = (MBOX_LINE + FILE % "a.exe") * 3_000
    examination = examine(parse((LEAF + mbox).encode()))
    assert any("a.exe" in shadow.filenames for shadow in examination.shadows)


def test_faults_of_structure_in_a_hidden_message_are_told_whatever_its_fields_look_like() -> None:
    entity = "Content-Type: multipart/mixed; boundary=abcx\n\n--abcx\n\nx\n--abcx--\n"
    inner = HEADER + f"Content-Type: multipart/mixed; boundary=abc\n\n--abc\n{entity}--abc--\n"
    assert ("boundary-prefix", "1") in faults(LEAF + inner)


ODD_FIRST_LINES = [
    "X_Y: y",
    "X.Y: y",
    "1X: y",
    "-X: y",
    " ",
    "\tx: y",
    "a stray line",
    "\u00fc: y",
    "\0",
    "\ufeff",
    "\0X: y",
    ":",
]


@pytest.mark.parametrize("first", ODD_FIRST_LINES)
@pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain", "message/delivery-status"])
@pytest.mark.parametrize("encoding", ["7bit", "base64"])
def test_a_message_by_its_name_is_read_whatever_its_first_line_is(first: str, content_type: str, encoding: str) -> None:
    letter = f"{first}\n{FILE % 'blocked.exe'}".encode()
    assert "blocked.exe" in everything(called(letter, content_type, encoding)).names


@pytest.mark.parametrize("content_type", ["message/delivery-status", "text/rfc822-headers", "application/octet-stream"])
def test_a_message_by_its_name_is_read_whatever_its_type_is(content_type: str) -> None:
    assert "blocked.exe" in everything(called((FILE % "blocked.exe").encode(), content_type, "7bit")).names


@pytest.mark.parametrize("charset", ["utf-16-le", "utf-16-be"])
def test_a_message_in_utf_16_is_read(charset: str) -> None:
    letter = ("\ufeff" + FILE % "blocked.exe").encode(charset)
    assert "blocked.exe" in everything(called(letter, "application/octet-stream", "base64")).names


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("text/rfc822-headers", HEADER + "Content-Type: multipart/mixed; boundary=b\n"),
        ("message/delivery-status", "Reporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; x@y.example\n"),
        ("application/octet-stream", "\nThe letter is lost.\n"),
        ("text/plain", "My notes: none\n\nabout mail\n"[3:]),
    ],
)
def test_a_report_or_a_text_under_the_name_of_a_message_has_no_fault(content_type: str, content: str) -> None:
    told = {defect.severity for defect in examine(parse(called(content.encode(), content_type, "7bit"))).defects}
    assert told <= {Severity.INFO, Severity.LOW}


def test_a_letter_of_outlook_is_no_message_of_mime() -> None:
    letter = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + b"\r\n" + (FILE % "blocked.exe").encode()
    message = called(letter, "application/vnd.ms-outlook", "base64", "letter.msg")
    assert {defect.name for defect in examine(parse(message)).defects} == set()
