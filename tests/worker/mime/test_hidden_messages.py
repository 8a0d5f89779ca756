# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that are the content of a leaf: their parts, their own faults, and the messages behind them in an mbox."""

import pytest

from defang_worker.mime import parse
from defang_worker.mime.views import examine
from tests.worker.mime.everything import everything

HEADER = "From: a@b.example\nTo: c@d.example\nSubject: x\nMIME-Version: 1.0\n"
LEAF = HEADER + "Content-Type: application/octet-stream\nContent-Disposition: attachment\n\n"
FILE = HEADER + "Content-Type: application/octet-stream; name=%s\n\nwords\n\n"
MBOX_LINE = "From a@b.example Mon Jun  7 09:30:00 2026\n"


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
