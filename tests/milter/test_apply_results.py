# SPDX-License-Identifier: GPL-3.0-or-later
"""RESULTS to calls on the milter context: the vectors of the original front end, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from defang_common.wire import results
from defang_common.wire.errors import NotFinished
from defang_common.wire.header import Header
from defang_milter.apply_results import ChangeFailed, Changes, Marks
from defang_milter.workdir import NEW_BODY_CHUNK_BYTES, WorkDir
from tests.milter.conftest import FakeContext

if TYPE_CHECKING:
    from tests.milter.conftest import Call

NO_MARKS = Marks(scanned_by=None, validation_name=None)


@pytest.fixture
def workdir(spool: Path) -> WorkDir:
    return WorkDir(str(spool / "mdefang-Q1"), reopen=False)


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


def _apply(
    context: FakeContext, workdir: WorkDir, data: bytes, marks: Marks = NO_MARKS, header: Header | None = None
) -> None:
    changes = Changes(context, log_name="Q1", header=header or Header(None), workdir=workdir)
    changes.apply(results.decode(data), marks)


@pytest.mark.parametrize(
    ("data", "calls"),
    [
        (b"HX-A val%20ue\nF\n", [("addheader", "X-A", "val ue")]),
        (b"HX-A  two\nF\n", [("addheader", "X-A", " two")]),
        (b"HX-A\nF\n", []),
        (b"NX-C -1 v\nF\n", [("insheader", 0, "X-C", "v")]),
        (b"NX-C 3 v\nF\n", [("insheader", 3, "X-C", "v")]),
        (b"ISubject 0 v\nF\n", [("chgheader", "Subject", 1, "v")]),
        (b"JSubject 1\nF\n", [("chgheader", "Subject", 1, "")]),
        (
            b"Mtext/html; charset=x\nF\n",
            [("chgheader", "Content-Type", 1, "text/html; charset=x"), ("chgheader", "MIME-Version", 1, "1.0")],
        ),
        (b"M\nF\n", [("chgheader", "MIME-Version", 1, "1.0")]),
        (b"Ra@b\nSc@d\nfe@f\n", None),
        (b"Ra@b\nSc@d\nfe@f\nF\n", [("addrcpt", "a@b"), ("delrcpt", "c@d"), ("chgfrom", "e@f")]),
        (b"Qbad%20thing\nF\n", [("quarantine", "bad thing")]),
        (b"F", []),
        (b"\nF\n", []),
        (b"HX-A v\nB\n", []),
        (b"HX-A v\nQwhy\nD\nF\n", [("quarantine", "why")]),
        (b"HX-A v\nF\nD\n", [("addheader", "X-A", "v")]),
    ],
)
def test_lines_become_calls_in_their_order(
    context: FakeContext, workdir: WorkDir, data: bytes, calls: list[Call] | None
) -> None:
    if calls is None:
        with pytest.raises(NotFinished):
            _apply(context, workdir, data)
        calls = []
    else:
        _apply(context, workdir, data)
    assert context.calls == calls


def test_a_message_with_a_mime_version_gets_no_second_one(context: FakeContext, workdir: WorkDir) -> None:
    header = Header(None)
    header.add(b"mime-version", b"1.0")
    _apply(context, workdir, b"Mtext/plain\nF\n", header=header)
    assert context.calls == [("chgheader", "Content-Type", 1, "text/plain")]


def test_a_new_body_goes_out_byte_for_byte(context: FakeContext, workdir: WorkDir) -> None:
    content = b"new\nbody\r\nx\ry\nend\xff" + b"." * NEW_BODY_CHUNK_BYTES
    Path(workdir.path, "NEWBODY").write_bytes(content)
    _apply(context, workdir, b"HX a\nC\nHY b\nF\n")
    assert [call[0] for call in context.calls] == ["addheader", "replacebody", "replacebody", "addheader"]
    assert b"".join(chunk for name, chunk in context.calls[1:3] if isinstance(chunk, bytes)) == content


def test_a_new_body_asked_for_twice_goes_out_once(context: FakeContext, workdir: WorkDir) -> None:
    Path(workdir.path, "NEWBODY").write_bytes(b"new")
    _apply(context, workdir, b"C\nC\nF\n")
    assert context.calls == [("replacebody", b"new")]


def test_an_empty_new_body_empties_the_message(context: FakeContext, workdir: WorkDir) -> None:
    Path(workdir.path, "NEWBODY").write_bytes(b"")
    _apply(context, workdir, b"C\nF\n")
    assert context.calls == [("replacebody", b"\n")]


def test_a_missing_new_body_is_found_before_anything_is_changed(context: FakeContext, workdir: WorkDir) -> None:
    with pytest.raises(FileNotFoundError):
        _apply(context, workdir, b"HX a\nC\nF\n")
    assert context.calls == []


@pytest.mark.parametrize(
    ("call", "data"),
    [
        ("addheader", b"HX a\nF\n"),
        ("insheader", b"NX 0 a\nF\n"),
        ("chgheader", b"JX 1\nF\n"),
        ("addrcpt", b"Ra@b\nF\n"),
        ("delrcpt", b"Sa@b\nF\n"),
        ("chgfrom", b"fa@b\nF\n"),
        ("quarantine", b"Qwhy\nF\n"),
        ("quarantine", b"Qwhy\nD\n"),
        ("replacebody", b"C\nF\n"),
    ],
)
def test_a_change_that_the_mta_lacks_is_a_failure(
    context: FakeContext, workdir: WorkDir, call: str, data: bytes
) -> None:
    Path(workdir.path, "NEWBODY").write_bytes(b"new")
    context.refused.add(call)
    with pytest.raises(ChangeFailed, match=call):
        _apply(context, workdir, data)


@pytest.mark.parametrize("data", [b"R%FF@b\nF\n", b"S%FF@b\nF\n", b"f%FF@b\nF\n", b"H%FF v\nF\n"])
def test_a_name_that_pymilter_cannot_say_is_a_failure(context: FakeContext, workdir: WorkDir, data: bytes) -> None:
    with pytest.raises(ChangeFailed, match="UTF-8"):
        _apply(context, workdir, data)
    assert context.calls == []


def test_a_value_that_is_not_utf_8_becomes_encoded_words(context: FakeContext, workdir: WorkDir) -> None:
    _apply(context, workdir, b"HX caf%E9%20and%20th%E9%20x\nF\n")
    assert context.calls == [("addheader", "X", "=?unknown-8bit?B?Y2Fm6Q==?= and =?unknown-8bit?B?dGjp?= x")]


def test_utf_8_stays_as_it_is(context: FakeContext, workdir: WorkDir) -> None:
    _apply(context, workdir, b"HX caf%C3%A9\nF\n")
    assert context.calls == [("addheader", "X", "café")]


@pytest.mark.parametrize("data", [b"R%20\nF\n", b"H%20 v\nF\n"])
def test_a_blank_is_a_name_too(context: FakeContext, workdir: WorkDir, data: bytes) -> None:
    _apply(context, workdir, data)
    assert len(context.calls) == 1


def test_changes_without_an_object_are_logged_and_ignored(
    context: FakeContext, workdir: WorkDir, caplog: pytest.LogCaptureFixture
) -> None:
    _apply(context, workdir, b"H v\nI 1 v\n?what\nHY z\nF\n")
    assert context.calls == [("addheader", "Y", "z")]
    assert len([line for line in caplog.messages if line.startswith("Q1: RESULTS: ")]) == 3


@pytest.mark.parametrize("line", [b"Q", b"Q ", b"Q%20", b"Q%00"])
def test_a_quarantine_without_a_reason_still_holds_the_message(
    context: FakeContext, workdir: WorkDir, line: bytes
) -> None:
    _apply(context, workdir, line + b"\nF\n")
    assert context.calls == [("quarantine", "held by the mail filter")]


def test_our_own_marks_follow_the_filters_changes(context: FakeContext, workdir: WorkDir) -> None:
    header = Header(b"X-Key")
    for name, value in [(b"X-Key", b"10.0.0.1")] + [(b"Content-Type", b"text/plain")] * 3:
        header.add(name, value)
    _apply(context, workdir, b"HX a\nF\n", Marks(scanned_by=b"Defang on 192.0.2.1", validation_name=b"X-Key"), header)
    assert context.calls == [
        ("addheader", "X", "a"),
        ("addheader", "X-Scanned-By", "Defang on 192.0.2.1"),
        ("chgheader", "X-Key", 1, ""),
        ("chgheader", "Content-Type", 3, ""),
        ("chgheader", "Content-Type", 2, ""),
    ]


@pytest.mark.parametrize("data", [b"B\n", b"T\n", b"D\n"])
def test_a_refused_message_gets_no_marks(context: FakeContext, workdir: WorkDir, data: bytes) -> None:
    _apply(context, workdir, data, Marks(scanned_by=b"Defang", validation_name=None))
    assert context.calls == []


def test_a_header_that_names_us_is_not_worth_a_failure(context: FakeContext, workdir: WorkDir) -> None:
    context.refused.add("addheader")
    _apply(context, workdir, b"F\n", Marks(scanned_by=b"Defang", validation_name=None))
    assert context.calls == []


def test_a_surplus_content_type_that_stays_is_a_failure(context: FakeContext, workdir: WorkDir) -> None:
    header = Header(None)
    for _ in range(2):
        header.add(b"Content-Type", b"text/plain")
    context.refused.add("chgheader")
    with pytest.raises(ChangeFailed):
        _apply(context, workdir, b"F\n", header=header)
