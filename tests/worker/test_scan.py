# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scan does beside RESULTS and NEWBODY, which the golden cases show: log lines, memory, faults of the disk."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defang_common.wire import results
from defang_worker import scan as scan_module
from defang_worker.api import filter_file
from defang_worker.api.message import Message
from defang_worker.effects.recorded import RecordedEffects
from tests.worker.conftest import COMMANDS, LoadFilter, make_worker

SUGGESTED_MINIMUM = Path(__file__).parents[2] / "docs" / "filters" / "suggested_minimum.py"
LARGE = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n%b\n--b--\n" % (b"x" * 1_000_000)
DROP_ALL = """
def filter_part(message, part):
    part.drop("gone")
"""


def scan_line(workdir: Path) -> bytes:
    return b"scan Q1 %s" % os.fsencode(workdir)


def test_log_names_callback_file_line_and_cause(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = load_filter(
        """
        def check(message):
            return message.envelope.macros["no_such_macro"]
        def filter_begin(message):
            check(message)
        """
    )
    cause = f"filter_begin: {site.path}:3: KeyError: 'no_such_macro'"
    assert make_worker(site).answer(scan_line(workdir)) == f"error: scan failed: {cause}\n".encode()
    assert f"temporary failure: {cause}" in caplog.text
    assert not (workdir / "RESULTS").exists()


@pytest.mark.parametrize("file", ["RESULTS", "NEWBODY"])
def test_full_disk_is_an_error_and_never_ok(
    load_filter: LoadFilter, workdir: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    (workdir / file).symlink_to("/dev/full")
    answer = make_worker(load_filter(DROP_ALL)).answer(scan_line(workdir))
    assert answer == b"error: scan failed: [Errno 28] No space left on device\n"
    assert "No space left on device" in caplog.text


def test_half_a_line_of_a_check_does_not_swallow_the_verdict(load_filter: LoadFilter, workdir: Path) -> None:
    (workdir / "RESULTS").write_bytes(b"HX-A half")
    answer = make_worker(load_filter("def filter_end(m): m.reject('virus')")).answer(scan_line(workdir))
    assert answer == b"error: scan failed: [Errno 5] the file ends within a line\n"


def test_earlier_results_that_leave_no_room_are_an_error(load_filter: LoadFilter, workdir: Path) -> None:
    (workdir / "RESULTS").write_bytes(b"HX-A x\n" * 9362)
    answer = make_worker(load_filter(DROP_ALL)).answer(scan_line(workdir))
    assert answer.startswith(b"error: scan failed: RESULTS would have 65")
    assert b"F" not in (workdir / "RESULTS").read_bytes()


@pytest.mark.parametrize("call", ["reject", "tempfail", "mta_quarantine"])
def test_verdict_stands_whatever_the_length_of_its_text(load_filter: LoadFilter, workdir: Path, call: str) -> None:
    (workdir / "INPUTMSG").write_bytes(b"Subject: " + "é".encode() * 3000 + b"\n\nHello\n")
    site = load_filter(f"def filter_end(message):\n    message.{call}(message.subject)")
    assert make_worker(site).answer(scan_line(workdir)) == b"ok\n"
    found = results.decode((workdir / "RESULTS").read_bytes())
    (line,) = found.changes or [found.verdict]
    assert isinstance(line, results.Bounce | results.Tempfail | results.Quarantine)
    assert "é".encode() * 2000 in (line.reason if isinstance(line, results.Quarantine) else line.text)


def test_unknown_lines_of_a_newer_front_end_are_logged_and_skipped(
    workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commands = (workdir / "COMMANDS").read_bytes()
    (workdir / "COMMANDS").write_bytes(b"*something new\n" + commands)
    assert make_worker(filter_file.load("/dev/null")).answer(scan_line(workdir)) == b"ok\n"
    assert "unknown line ignored: b'*something new'" in caplog.text


def test_later_verdicts_are_logged(load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = load_filter(
        """
        def filter_begin(message):
            message.reject("first")
            message.discard()
        """
    )
    with caplog.at_level("INFO"):
        make_worker(site).answer(scan_line(workdir))
    assert (workdir / "RESULTS").read_bytes() == b"B554 5.7.1 first\nF\n"
    assert "the first verdict stands" in caplog.text
    assert "DISCARD" in caplog.text


@pytest.mark.parametrize("response", ["Response.reject(delay_s=5)", "Response.ok(delay_s=5)"])
def test_delay_that_is_not_possible_any_more_is_logged(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture, response: str
) -> None:
    site = load_filter(f"def filter_end(message): return {response}")
    make_worker(site).answer(scan_line(workdir))
    assert "filter_end: no delay is possible" in caplog.text


def test_message_is_not_parsed_for_a_filter_that_does_not_look_at_parts(
    load_filter: LoadFilter, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr("defang_worker.api.message.parse", refuse)
    site = load_filter(
        """
        def filter_end(message):
            message.headers.replace("Subject", "[x] " + message.subject)
        """
    )
    assert make_worker(site).answer(scan_line(workdir)) == b"ok\n"
    assert (workdir / "RESULTS").read_bytes() == b"ISubject 1 [x]%20lunch\nF\n"


def test_structure_that_a_filter_first_looks_at_itself_is_limited_too(load_filter: LoadFilter, workdir: Path) -> None:
    (workdir / "INPUTMSG").write_bytes(
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 9 + b"--b--\n"
    )
    site = load_filter(
        """
        settings = Settings(limits=Limits(max_parts=5))
        def filter_end(message):
            assert len(message.root.children) == 4
        """
    )
    assert make_worker(site).answer(scan_line(workdir)) == b"ok\n"
    assert (workdir / "RESULTS").read_bytes().startswith(b"B554 5.7.1 The%20structure")


def test_no_message_is_kept_however_small(load_filter: LoadFilter, workdir: Path) -> None:
    site = load_filter(
        """
        def filter_part(message, part):
            assert part.size == 10
        """
    )
    before = {id(found) for found in gc.get_objects() if isinstance(found, Message)}
    assert make_worker(site).answer(scan_line(workdir)) == b"ok\n"
    assert not [found for found in gc.get_objects() if isinstance(found, Message) and id(found) not in before]


def test_large_message_is_not_kept(load_filter: LoadFilter, workdir: Path) -> None:
    (workdir / "INPUTMSG").write_bytes(LARGE)
    site = load_filter(
        """
        def filter_part(message, part):
            assert part.size == 1_000_000
        """
    )
    assert make_worker(site).answer(scan_line(workdir)) == b"ok\n"
    assert str(workdir) not in Path("/proc/self/maps").read_text()


def test_large_message_is_not_kept_if_the_filter_fails(
    load_filter: LoadFilter, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The log's records, which pytest keeps, hold the exception, and that the message.
    monkeypatch.setattr(scan_module, "_log", logging.getLogger("discarded"))
    logging.getLogger("discarded").disabled = True
    (workdir / "INPUTMSG").write_bytes(LARGE)
    site = load_filter(
        """
        def filter_part(message, part):
            assert part.size == 1
        """
    )
    assert make_worker(site).answer(scan_line(workdir)).startswith(b"error: ")
    assert str(workdir) not in Path("/proc/self/maps").read_text()


_PIECES = [
    b"--b\n", b"--b--\n", b"--c\n", b"\n", b"\r\n", b"\n\n", b"text ", b"=", b"\0", b"\xff",
    b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: message/rfc822\n", b"Subject: a\n b\n",
    b'Content-Type: multipart/alternative; boundary="c"\n', b"Content-Type: application/zip; name=a.zip\n",
    b"Content-Transfer-Encoding: base64\n", b"Content-Disposition: attachment; filename=a.exe\n", b"TVqQAA==\n",
]  # fmt: skip
_MESSAGES = st.lists(st.one_of(st.sampled_from(_PIECES), st.binary(max_size=20)), max_size=30).map(b"".join)
_EDITING = """
from defang_worker import *

def filter_part(message, part):
    for header in part.headers.items():
        message.headers.add("X-Part", repr(header))
    if part.size % 3 == 0:
        part.drop("dropped")
    elif part.size % 3 == 1:
        part.replace(part.text, filename=part.filename)

def filter_multipart(message, part):
    if len(part.data) % 2:
        part.drop()

def filter_end(message):
    message.headers.delete_all("Subject")
    message.add_part("text/plain", "end")
"""


@pytest.mark.parametrize("source", [_EDITING, SUGGESTED_MINIMUM.read_text()], ids=["editing", "suggested minimum"])
@given(raw=_MESSAGES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_scanned_to_complete_results(spool: Path, source: str, raw: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=spool) as name:
        workdir = Path(name)
        (workdir / "filter.py").write_text(source)
        (workdir / "COMMANDS").write_bytes(COMMANDS)
        (workdir / "INPUTMSG").write_bytes(raw)
        worker = make_worker(filter_file.load(str(workdir / "filter.py"), RecordedEffects()))
        assert worker.answer(scan_line(workdir)) == b"ok\n"
        asked = results.decode((workdir / "RESULTS").read_bytes())
        assert not asked.oddities
        assert not isinstance(asked.verdict, results.Tempfail)
        is_rewritten = results.ReplaceBody() in asked.changes
        assert is_rewritten == ((workdir / "NEWBODY").exists() and asked.verdict is None)


def test_error_answer_does_not_break_the_line(workdir: Path) -> None:
    answer = make_worker(filter_file.load("/dev/null")).answer(scan_line(workdir) + b"%0Aok")
    assert answer.startswith(b"error: scan failed: ")
    assert answer.count(b"\n") == 1
