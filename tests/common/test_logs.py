# SPDX-License-Identifier: GPL-3.0-or-later
"""What a log line looks like, on standard error and for syslog."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import syslog
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.host import logs
from defang_common.host.log_outlet import MAX_WAITING_CHARACTERS

LOG = logging.getLogger("defang.test")
LIMIT_S = 60


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.flush()
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@dataclass
class Stderr:
    """What stands on standard error when all that was logged is written."""

    capture: pytest.CaptureFixture[str]

    def getvalue(self) -> str:
        flush()
        return self.capture.readouterr().err


def flush() -> None:
    logging.getLogger().handlers[0].flush()


@pytest.fixture
def stderr(capfd: pytest.CaptureFixture[str]) -> Stderr:
    logs.configure(label="defang-test", facility="mail", target="stderr")
    return Stderr(capfd)


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


def test_line_on_standard_error_has_label_and_process_id(stderr: Stderr) -> None:
    LOG.warning("Q1: %s is %d", "that", 3)
    assert stderr.getvalue() == f"defang-test[{os.getpid()}]: Q1: that is 3\n"


def test_traceback_is_one_line_each_with_the_queue_id(stderr: Stderr) -> None:
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


def test_own_loggers_speak_from_debug_and_others_from_info(stderr: Stderr) -> None:
    LOG.debug("own")
    logging.getLogger("other").debug("hidden")
    logging.getLogger("other").info("shown")
    assert [line.rpartition(" ")[2] for line in stderr.getvalue().splitlines()] == ["own", "shown"]


def test_second_configuration_replaces_the_first(stderr: Stderr) -> None:
    logs.configure(label="later", facility="mail", target="stderr")
    LOG.info("once")
    assert stderr.getvalue() == f"later[{os.getpid()}]: once\n"


def test_control_characters_and_lone_surrogates_are_shown_escaped(stderr: Stderr) -> None:
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
    flush()
    assert sent[0] == ("defang-test", syslog.LOG_PID | syslog.LOG_NDELAY, syslog.LOG_LOCAL3)
    assert sent[1:] == [
        (priority, "text")
        for priority in (syslog.LOG_DEBUG, syslog.LOG_INFO, syslog.LOG_WARNING, syslog.LOG_ERR, syslog.LOG_CRIT)
    ]


def test_syslog_gets_a_call_for_each_line(sent: list[tuple[object, ...]]) -> None:
    LOG.error("Q1: one\ntwo\n")
    flush()
    assert [call[1] for call in sent[1:]] == ["Q1: one", "Q1: two"]


def test_json_is_one_object_a_line_with_the_queue_id_apart(stderr: Stderr) -> None:
    logs.configure(label="defang-test", facility="mail", target="stderr", form="json")
    LOG.warning('Q1: first\nsecond "\u00e9\x07')
    LOG.info("started: here")
    first, second, third = (json.loads(line) for line in stderr.getvalue().splitlines())
    assert [first[key] for key in ("level", "program", "pid", "queue_id", "message")] == [
        "warning", "defang-test", os.getpid(), "Q1", "first",
    ]  # fmt: skip
    assert (second["queue_id"], second["message"]) == ("Q1", 'second "\u00e9\\x07')
    assert (third["queue_id"], third["message"]) == (None, "started: here")
    assert datetime.fromisoformat(first["time"]).tzinfo is not None


def test_json_goes_to_syslog_too(sent: list[tuple[object, ...]]) -> None:
    logs.configure(label="defang-test", facility="mail", target="syslog", form="json")
    LOG.error("Q1: x")
    flush()
    priority, text = sent[-1]
    assert priority == syslog.LOG_ERR
    assert json.loads(str(text))["message"] == "x"


def test_journal_gets_fields(spool: Path) -> None:
    path = spool / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.settimeout(LIMIT_S)
        journal.bind(str(path))
        logs.configure(label="defang-test", facility="mail", target="journal", journal=path)
        LOG.error("4ANJxJd5: first\nsecond")
        datagrams = [journal.recv(4096).decode().splitlines() for _ in range(2)]
    common = ["SYSLOG_IDENTIFIER=defang-test", "SYSLOG_FACILITY=2", "PRIORITY=3"]
    assert datagrams == [
        [*common, f"MESSAGE=4ANJxJd5: {word}", "DEFANG_QUEUE_ID=4ANJxJd5"] for word in ("first", "second")
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("4ANJxJd5012345: x", "4ANJxJd5012345"),
        ("0A1B2C3D4E: x", "0A1B2C3D4E"),
        ("NOQUEUE: x", "NOQUEUE"),
        ("Worker 0: x", None),
        ("started: x", None),
        ("Q1:x", None),
        ("x Q1: y", None),
    ],
)
def test_queue_id_is_told_from_other_words(line: str, expected: str | None) -> None:
    assert logs.queue_id_of(line) == expected


def test_a_logger_that_hangs_stops_nobody_who_logs(spool: Path) -> None:
    path = spool / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.settimeout(LIMIT_S)
        journal.bind(str(path))
        logs.configure(label="defang-test", facility="mail", target="journal", journal=path)
        # Many more than a socket takes (net.unix.max_dgram_qlen) and than are kept waiting, and nobody reads them.
        count = 3 * MAX_WAITING_CHARACTERS // 1000
        for number in range(count):
            LOG.info("%05d %s", number, "x" * 1000)
        taken, lost = 0, 0
        while taken + lost < count:
            text = journal.recv(4096).decode().partition("MESSAGE=")[2]
            notice = re.fullmatch(r"(\d+) messages? for this log lost: it did not take them\n", text)
            if notice:
                lost += int(notice[1])
            else:
                assert int(text[:5]) == taken + lost
                taken += 1
        assert lost
        LOG.info("afterwards")
        assert journal.recv(4096).endswith(b"MESSAGE=afterwards\n")


def test_a_pipe_that_nobody_reads_stops_nobody_who_logs_or_ends() -> None:
    program = (
        "import logging, sys; from defang_common.host import logs\n"
        "logs.configure(label='x', facility='mail', target='stderr')\n"
        "for number in range(1000): logging.getLogger('defang').info('%d %s', number, 'x' * 1000)\n"
        "print('logged', flush=True)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"logged\n"
        assert process.wait(LIMIT_S) == 0


def test_what_no_logger_took_is_counted_and_told_to_the_next(spool: Path) -> None:
    path = spool / "journal"
    logs.configure(label="defang-test", facility="mail", target="journal", journal=path)
    LOG.info("one")
    LOG.info("two")
    flush()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.settimeout(LIMIT_S)
        journal.bind(str(path))
        LOG.info("three")
        told = [journal.recv(4096).decode().partition("MESSAGE=")[2].strip() for _ in range(2)]
    assert told == ["2 messages for this log lost: it did not take them", "three"]


def test_the_thread_that_logs_takes_no_signal(stderr: Stderr) -> None:
    LOG.info("x")
    threads = log_threads()
    assert threads
    for thread in threads:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        (blocked,) = re.findall(r"SigBlk:\s*(\w+)", status)
        assert all(int(blocked, 16) >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD))


def log_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "log" and thread.is_alive()]
