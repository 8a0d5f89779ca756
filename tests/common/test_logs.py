# SPDX-License-Identifier: GPL-3.0-or-later
"""What a log line looks like, on standard error and for syslog."""

from __future__ import annotations

import io
import logging
import os
import socket
import sys
import syslog
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.host import logs

LOG = logging.getLogger("defang.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    logs.configure(label="defang-test", facility="mail", target="stderr")
    return out


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(syslog, "openlog", lambda *words: calls.append(words))
    monkeypatch.setattr(syslog, "syslog", lambda *words: calls.append(words))
    logs.configure(label="defang-test", facility="LOG_LOCAL3", target="syslog")
    return calls


@pytest.mark.parametrize("name", ["mail", "MAIL", "LOG_MAIL", "log_Mail"])
def test_facility_is_known_by_either_name_in_any_case(name: str) -> None:
    assert logs.facility_number(name) == syslog.LOG_MAIL


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_logger_that_listens_is_not_missing(spool: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as logger:
        logger.bind(str(spool / "log"))
        assert logs.missing_logger(spool / "log") is None
    assert logs.missing_logger(spool / "log") == f"{spool}/log: Connection refused"


def test_a_logger_that_was_never_there_is_missing(tmp_path: Path) -> None:
    assert logs.missing_logger(tmp_path / "log") == f"{tmp_path}/log: No such file or directory"


@pytest.mark.parametrize("name", ["", "log_", "mails", "local8", "pid", "LOG_PID", "LOG_LOG_MAIL"])
def test_other_names_are_no_facility(name: str) -> None:
    with pytest.raises(ValueError, match="unknown syslog facility"):
        logs.facility_number(name)


def test_line_on_standard_error_has_label_and_process_id(stderr: io.StringIO) -> None:
    LOG.warning("Q1: %s is %d", "that", 3)
    assert stderr.getvalue() == f"defang-test[{os.getpid()}]: Q1: that is 3\n"


def test_traceback_is_one_line_each_with_the_queue_id(stderr: io.StringIO) -> None:
    try:
        int("first\nsecond")
    except ValueError:
        LOG.exception("Q1: filter failed")
    lines = stderr.getvalue().splitlines()
    head = f"defang-test[{os.getpid()}]: Q1: "
    assert all(line.startswith(head) for line in lines)
    texts = [line.removeprefix(head) for line in lines]
    assert texts[:2] == ["filter failed", "Traceback (most recent call last):"]
    assert texts[-1].startswith("ValueError: ")


def test_own_loggers_speak_from_debug_and_others_from_info(stderr: io.StringIO) -> None:
    LOG.debug("own")
    logging.getLogger("other").debug("hidden")
    logging.getLogger("other").info("shown")
    assert [line.rpartition(" ")[2] for line in stderr.getvalue().splitlines()] == ["own", "shown"]


def test_second_configuration_replaces_the_first(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    logs.configure(label="later", facility="mail", target="stderr")
    LOG.info("once")
    assert stderr.getvalue() == f"later[{os.getpid()}]: once\n"


def test_control_characters_and_lone_surrogates_are_shown_escaped(stderr: io.StringIO) -> None:
    LOG.info("a\x00b\x1b[31m\rc\x7f\x9b\u2028\udce9\td é")
    assert stderr.getvalue().endswith(": a\\x00b\\x1b[31m\\x0dc\\x7f\\x9b\\u2028\\udce9\td é\n")


@given(st.text())
def test_any_text_is_printable_lines_that_can_be_encoded(text: str) -> None:
    for line in logs._lines(text):
        assert line.encode().decode() == line
        assert len(line.splitlines()) <= 1


def test_syslog_gets_label_facility_and_priorities(sent: list[tuple[object, ...]]) -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        LOG.log(level, "text")
    assert sent[0] == ("defang-test", syslog.LOG_PID | syslog.LOG_NDELAY, syslog.LOG_LOCAL3)
    assert sent[1:] == [
        (priority, "text")
        for priority in (syslog.LOG_DEBUG, syslog.LOG_INFO, syslog.LOG_WARNING, syslog.LOG_ERR, syslog.LOG_CRIT)
    ]


def test_syslog_gets_a_call_for_each_line(sent: list[tuple[object, ...]]) -> None:
    LOG.error("Q1: one\ntwo\n")
    assert [call[1] for call in sent[1:]] == ["Q1: one", "Q1: two"]
