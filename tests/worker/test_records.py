# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a message in logs of the site's own: event lines, and one record."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from defang_common.host.logs import facility_number
from defang_worker import Settings
from defang_worker.api import event_lines, filter_file
from defang_worker.effects import lines
from defang_worker.effects.recorded import RecordedEffects
from tests.worker.conftest import COMMANDS, make_worker

RAW = (
    b"Subject: =?utf-8?q?caf=C3=A9=2C?= 50%\nMessage-ID: <1@a>\nMIME-Version: 1.0\n"
    b"Content-Type: multipart/mixed; boundary=b\n\n"
    b"--b\nContent-Type: text/plain\n\nfirst\n"
    b"--b\nContent-Type: application/x-msdownload; name=a.exe\nContent-Disposition: attachment\n"
    b"Content-Transfer-Encoding: base64\n\nc2Vjb25k\n"
    b"--b\nContent-Type: text/html\n\n<p>third\n--b--\n"
)
TWO_RECIPIENTS = COMMANDS.replace(b"Ulunch", b"R<Carol@example.org> ? ? ?\nUcaf\xc3\xa9, 50%25")
FILTER = """
from defang_worker import *

settings = Settings({settings})

def filter_begin(message):
    message.log_event("mail in", 1.5, "a,b")

def filter_part(message, part):
    if part.matches("exe$"):
        part.drop("gone")
    if part.content_type == "text/html":
        part.replace("instead")
    message.headers.replace("Subject", "other")

def filter_end(message):
    {end}
"""


def scan(spool: Path, *, end: str = "pass", **settings: str) -> RecordedEffects:
    directory = spool / "mdefang-Q1"
    directory.mkdir(exist_ok=True)
    (directory / "RESULTS").unlink(missing_ok=True)
    (directory / "COMMANDS").write_bytes(TWO_RECIPIENTS)
    (directory / "INPUTMSG").write_bytes(RAW)
    path = spool / "filter.py"
    told = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    path.write_text(FILTER.format(settings=told, end=end))
    effects = RecordedEffects()
    make_worker(filter_file.load(str(path), effects)).answer(b"scan Q1 %s" % str(directory).encode())
    return effects


def record(spool: Path, end: str = "pass", **settings: str) -> dict[str, Any]:
    ((target, line),) = scan(spool, end=end, record_log="/log/records", **settings).lines
    assert target == "/log/records"
    assert "\n" not in line
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


# Event lines


def test_event_is_a_line_for_each_recipient(spool: Path) -> None:
    head, tail = "Q1: MDLOG,Q1,mail_in,1.5,a%2Cb,<alice@example.com>", "caf%C3%A9%2C 50%25"
    assert scan(spool, event_log="syslog:mail").lines == [
        ("syslog:mail", f"{head},<bob@example.org>,{tail}"),
        ("syslog:mail", f"{head},<carol@example.org>,{tail}"),
    ]


def test_event_may_be_one_line_for_the_message(spool: Path) -> None:
    effects = scan(spool, event_log="/log/events", end='message.log_event("end", per_message=True)')
    assert effects.lines[-1][1] == "Q1: MDLOG,Q1,end,,,<alice@example.com>,rcpts=2,caf%C3%A9%2C 50%25"


def test_only_recipient_is_named_even_in_one_line_for_the_message() -> None:
    told = event_lines.lines(
        log_id="Q1",
        event="e",
        values=["x", "y", "z"],
        sender="<>",
        recipients=["<B@c>"],
        subject=b"\\",
        per_message=True,
    )
    assert told == ["Q1: MDLOG,Q1,e,x,y,z,<>,<b@c>,%5C"]


def test_line_of_a_message_without_a_queue_id_begins_with_the_mark() -> None:
    told = event_lines.lines(
        log_id="NOQUEUE", event="e", values=[], sender="<>", recipients=["<b@c>"], subject=b"", per_message=False
    )
    assert told == ["MDLOG,NOQUEUE,e,,,<>,<b@c>,"]


def test_event_cannot_forge_a_line(spool: Path) -> None:
    effects = scan(spool, event_log="/log/events", end='message.log_event("e", "a\\nMDLOG,\\x00")')
    assert effects.lines[-1][1].startswith("Q1: MDLOG,Q1,e,a%0AMDLOG%2C%00,,")


def test_message_that_ends_in_a_fault_leaves_no_event(spool: Path) -> None:
    assert scan(spool, event_log="/log/events", end="raise RuntimeError").lines == []


def test_message_that_is_refused_leaves_its_events(spool: Path) -> None:
    assert len(scan(spool, event_log="/log/events", end="message.reject()").lines) == 2


def test_without_settings_nothing_is_written(spool: Path) -> None:
    assert scan(spool).lines == []


# Records


def test_record_has_envelope_and_facts(spool: Path) -> None:
    found = record(spool)
    assert (found["queue_id"], found["transaction_id"], found["message_id"]) == ("Q1", "ivLwa00", "<1@a>")
    assert found["client"] == {"ip": "192.0.2.7", "name": "client.example.com", "helo": "helo.example.com"}
    assert (found["sender"], found["recipients"]) == (
        "<alice@example.com>",
        ["<bob@example.org>", "<Carol@example.org>"],
    )
    assert (found["subject"], found["size"]) == ("other", len(RAW))


def test_record_has_parts_and_what_became_of_them(spool: Path) -> None:
    found = [(one["number"], one["type"], one["names"], one["action"]) for one in record(spool)["parts"]]
    assert found == [
        ("1", "text/plain", [], "kept"),
        ("2", "application/x-msdownload", ["a.exe"], "dropped"),
        ("3", "text/html", [], "replaced"),
    ]
    assert [one["bytes"] for one in record(spool)["parts"]] == [5, 8, 8]


def test_record_has_changes_warnings_and_events(spool: Path) -> None:
    found = record(spool)
    assert found["changes"] == [
        {"change": "replace-body"},
        {"change": "change-header", "name": "Subject", "index": 1, "value": "other"},
    ]
    assert (found["verdict"], found["modified"], found["warnings"]) == ("accept", True, ["gone"])
    assert found["events"] == [["mail in", "1.5", "a,b"]]
    assert (found["defects"], found["scanners"], found["published"]) == ([], [], [])


def test_record_has_the_time_in_each_callback(spool: Path) -> None:
    timings = record(spool)["timings_ms"]
    assert set(timings) == {"filter_begin", "filter_part", "filter_end", "total"}
    assert 0 < sum(timings[name] for name in timings if name != "total") <= timings["total"]


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ('message.reject("no", code=550, dsn="5.7.9")', ("reject", 550, "5.7.9", "no")),
        ("message.tempfail()", ("tempfail", 451, "4.3.0", "")),
        ("message.discard()", ("discard", None, None, None)),
    ],
)
def test_record_has_the_verdict(spool: Path, end: str, told: tuple[object, ...]) -> None:
    found = record(spool, end)
    assert tuple(found.get(key) for key in ("verdict", "code", "dsn", "reply")) == told
    assert (found["changes"], found["modified"]) == ([], False)


def test_record_is_left_of_a_fault_too(spool: Path) -> None:
    found = record(spool, "raise RuntimeError('broken')")
    assert found["verdict"] == "tempfail"
    assert re.search(r"FilterFault: filter_end: .*broken", found["fault"])
    assert "filter_end" in found["timings_ms"]


def test_record_of_bytes_that_are_no_text_is_clean_json(spool: Path) -> None:
    found = record(spool, 'message.headers.add("X-Raw", "a\\udcff")')
    assert {"change": "add-header", "name": "X-Raw", "value": "a\ufffd"} in found["changes"]


def test_manual_tells_every_field_of_a_record(spool: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    cells = re.findall(r"^\| (`.*?) \|", manual, re.MULTILINE)
    told = set(re.findall(r"`(\w+)`", " ".join(cells)))
    found = {*record(spool), *record(spool, "message.reject()"), *record(spool, "raise RuntimeError")}
    assert found == told


# Where they go


def test_file_gets_whole_lines_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines.append(str(path), "one \udcff")
    lines.append(str(path), "two")
    assert path.read_bytes() == b"one \xff\ntwo\n"
    assert path.stat().st_mode & 0o007 == 0


def test_file_that_cannot_be_written_is_told_in_the_log_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines.append(str(tmp_path / "none" / "log"), "one")
    assert "a line is not logged" in caplog.text


@pytest.mark.parametrize("target", ["records.json", "syslog:nothing", "syslog:", "stderr"])
@pytest.mark.parametrize("setting", ["event_log", "record_log"])
def test_target_that_is_none_is_refused_when_the_filter_is_loaded(target: str, setting: str) -> None:
    with pytest.raises(ValueError, match=r"absolute path|unknown syslog facility"):
        Settings(**{setting: target})  # type: ignore[arg-type]


def test_system_log_gets_the_line_with_its_facility(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr("syslog.openlog", lambda *args: calls.append(args))
    monkeypatch.setattr("syslog.syslog", lambda *args: calls.append(args))
    lines.append("syslog:local3", "MDLOG,a")
    lines._system_log().flush()
    assert [call[-1] for call in calls] == [facility_number("local3"), "MDLOG,a"]


def test_system_logger_that_hangs_holds_no_message_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released, written = threading.Event(), []

    def hang(*args: object) -> None:
        released.wait()
        written.append(args[-1])

    monkeypatch.setattr("syslog.openlog", lambda *args: None)
    monkeypatch.setattr("syslog.syslog", hang)
    for number in range(100):
        lines.append("syslog:mail", f"MDLOG,{number}")
    assert written == []
    released.set()
    lines._system_log().flush()
    assert written == [f"MDLOG,{number}" for number in range(100)]
