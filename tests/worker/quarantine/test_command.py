# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker quarantine` on entries of ours and of MIMEDefang's."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from defang_worker import __main__ as program
from defang_worker.effects import seal, store
from defang_worker.effects.contract import LetterKind, QuarantineEntry
from defang_worker.effects.secret import secret
from defang_worker.mime.parse import parse
from tests.support.sink import Sink

RAW = b"Received: from x by y\nSubject: lunch\nAuthentication-Results: a; spf=pass\n\nHello \xfc\n"
NOW = datetime.now().astimezone().replace(microsecond=0)


def make_entry(directory: Path, *, age: timedelta, subject: str = "lunch", sender: str = "alice@example.com") -> str:
    """An entry as the worker leaves it."""
    facts = {
        "version": 1,
        "sender": sender,
        "recipients": ["bob@example.org", "carol@example.net"],
        "subject": subject,
        "reasons": ["Disk image"],
        "queue_id": "Q1",
        "relay": {"ip": "192.0.2.7"},
    }
    files = {"ENTIRE_MESSAGE": RAW, "SENDER": b"<x>\n", "meta.json": json.dumps(facts).encode()}
    made = QuarantineEntry(directory=str(directory), time=NOW - age, files=files)
    return Path(store.quarantine(made)).name


def make_original(directory: Path) -> str:
    """An entry as MIMEDefang leaves it, of one part only."""
    path = directory / "2020-01-31-12" / "qdir-2020-01-31-12.30.59-001"
    path.mkdir(parents=True)
    for name, content in {
        "SENDER": "<dora@example.com>\n",
        "SENDMAIL-QID": "OLD1\n",
        "RECIPIENTS": "<bob@example.org>\n<erin@example.org>\n",
        "HEADERS": "From: x\nSubject: =?utf-8?q?gr=C3=BCn?=\n",
        "MSG.1": "bad name\n",
        "PART.1.HEADERS": "Content-Type: a/b\n",
        "PART.1.BODY": "content\n",
    }.items():
        (path / name).write_text(content)
    return path.name


class Tool:
    """Runs the command on a quarantine of its own."""

    def __init__(self, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capfd = capfd
        self.said = ""
        self.complained = ""

    def run(self, *words: str) -> int:
        status = program.main(["-f", "/dev/null", "quarantine", "-d", str(self.directory), *words])
        self.said, self.complained = self._capfd.readouterr()
        return status

    def names(self, *words: str) -> list[str]:
        assert self.run("list", "--json", *words) == 0
        return [json.loads(line)["name"] for line in self.said.splitlines()]


@pytest.fixture
def tool(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Tool:
    directory = tmp_path / "quarantine"
    directory.mkdir()
    return Tool(directory, capfd)


def test_list_is_chosen_by_age_sender_recipient_and_reason(tool: Tool) -> None:
    old = make_original(tool.directory)
    middle = make_entry(tool.directory, age=timedelta(hours=5))
    new = make_entry(tool.directory, age=timedelta(0), sender="Zoe@example.net")
    assert tool.names() == [old, middle, new]
    assert tool.names("--older-than", "4h") == [old, middle]
    assert tool.names("--newer-than", "4h") == [new]
    assert tool.names("--older-than", "1h", "--newer-than", "1w") == [middle]
    assert tool.names("--sender", "*@EXAMPLE.com") == [old, middle]
    assert tool.names("--sender", "zoe@*") == [new]
    assert tool.names("--recipient", "carol@example.net") == [middle, new]
    assert tool.names("--reason", "disk") == [middle, new]
    assert tool.names(old) == [old]


def test_original_entry_is_read_from_its_files(tool: Tool) -> None:
    name = make_original(tool.directory)
    assert tool.run("show", "--json", name) == 0
    shown = json.loads(tool.said)
    assert (shown["sender"], shown["queue_id"], shown["subject"]) == ("dora@example.com", "OLD1", "grün")
    assert shown["recipients"] == ["bob@example.org", "erin@example.org"]
    assert (shown["reasons"], shown["entire"]) == (["bad name"], False)
    assert tool.run("show", "--file", "PART.1.BODY", str(tool.directory / "2020-01-31-12" / name)) == 0
    assert tool.said == "content\n"


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b'{"recipients": ["bo',
        b"[1]",
        b'{"recipients": 5, "subject": null, "reasons": [{}], "parts": [7]}',
        b"[" * 9999,
    ],
)
def test_damaged_facts_of_one_entry_hide_no_other(tool: Tool, damaged: bytes) -> None:
    names = [make_entry(tool.directory, age=timedelta(days=age)) for age in (3, 2)]
    (next(tool.directory.glob(f"*/{names[0]}")) / "meta.json").write_bytes(damaged)
    assert tool.names() == names
    assert tool.run("list") == 0
    assert tool.names("--recipient", "bob@*", "--reason", "disk") == names[1:]
    assert tool.run("show", names[0]) == 0


def test_release_that_was_noted_in_part_counts_as_one(tool: Tool) -> None:
    name = make_entry(tool.directory, age=timedelta(0))
    (next(tool.directory.glob(f"*/{name}")) / "RELEASED").write_text('{"time": "2026')
    assert tool.names() == [name]
    assert tool.run("release", name) == 0
    assert "released already at an unknown time" in tool.complained


def test_directory_may_be_named_from_where_one_is(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    name = make_entry(tool.directory, age=timedelta(0))
    monkeypatch.chdir(tool.directory.parent)
    assert program.main(["-f", "/dev/null", "quarantine", "-d", tool.directory.name, "show", name]) == 0


@pytest.mark.parametrize("limit", ["-1", "0", "x"])
def test_limit_that_is_none_is_refused(tool: Tool, limit: str) -> None:
    with pytest.raises(SystemExit) as ended:
        tool.run("expire", "--older-than", "2d", "--limit", limit)
    assert ended.value.code == 2


def test_nothing_that_a_terminal_obeys_is_printed(tool: Tool) -> None:
    name = make_entry(tool.directory, age=timedelta(0), subject="a\x1b[2J\nb\u202e")
    for words in (["list"], ["show", name]):
        assert tool.run(*words) == 0
        assert "\\x1b[2J" in tool.said
        assert "\x1b" not in tool.said
        assert "\u202e" not in tool.said


@pytest.mark.parametrize("name", ["../../etc", "qdir-x", "qdir-2020-01-31-12.30.59-002", "/etc/passwd"])
def test_what_is_no_entry_is_an_error(tool: Tool, name: str) -> None:
    make_original(tool.directory)
    for word in ("show", "release", "delete"):
        assert tool.run(word, name) == 1
        assert repr(name)[1:-1] in tool.complained


def test_file_outside_of_an_entry_is_not_shown(tool: Tool) -> None:
    name = make_original(tool.directory)
    (tool.directory / "2020-01-31-12" / name / "LINK").symlink_to("/etc/passwd")
    assert tool.run("show", "--file", "../../../etc/passwd", name) == 1
    assert "has no ../../../etc/passwd; it has HEADERS" in tool.complained
    assert tool.run("show", "--file", "LINK", name) == 1
    assert tool.said == ""


def test_missing_quarantine_is_named(tool: Tool) -> None:
    tool.directory.rmdir()
    assert tool.run("list") == 1
    assert tool.complained == f"defang-worker quarantine: {tool.directory}: No such file or directory\n"


def test_release_sends_the_message_as_it_came_under_a_mark_for_it(tool: Tool) -> None:
    name = make_entry(tool.directory, age=timedelta(0))
    with Sink() as sink:
        target = f"127.0.0.1:{sink.port}"
        assert tool.run("release", "--submit-to", target, "--dry-run", name) == 0
        assert sink.deliveries == []
        assert tool.run("release", "--submit-to", target, "--json", name) == 0
        (delivery,) = sink.deliveries
        told = {"name": name, "from": "alice@example.com", "to": ["bob@example.org", "carol@example.net"]}
        assert json.loads(tool.said) == {**told, "attached": False, "done": True}
        assert tool.run("release", "--submit-to", target, name) == 0
        assert "released already" in tool.complained
        assert len(sink.deliveries) == 1
        assert tool.run("release", "--submit-to", target, "--again", "--to", "<eve@example.org>", name) == 0
    assert delivery.sender == b"<alice@example.com>"
    assert delivery.recipients == (b"<bob@example.org>", b"<carol@example.net>")
    assert sink.deliveries[1].recipients == (b"<eve@example.org>",)
    content = delivery.content.replace(b"\r\n", b"\n")
    assert content.endswith(RAW)
    value = content.removesuffix(RAW).decode().partition(": ")[2]
    found = seal.opened(value, secret(str(tool.directory)), seal.digest(content), time.time())
    assert found is not None
    assert (found.kind, found.client_ip, found.queue_id) == (LetterKind.RELEASE, "192.0.2.7", "Q1")


@pytest.mark.parametrize("is_whole", [True, False])
def test_release_attaches_the_message_or_its_parts(tool: Tool, is_whole: bool) -> None:
    name = make_entry(tool.directory, age=timedelta(0)) if is_whole else make_original(tool.directory)
    with Sink() as sink:
        assert tool.run("release", "-a", "-s", "Für Sie", "--submit-to", f"127.0.0.1:{sink.port}", name) == 0
    (delivery,) = sink.deliveries
    assert delivery.sender == b"<>"
    root = parse(delivery.content.replace(b"\r\n", b"\n")).root
    text, attached = root.children
    assert "alice@example.com" in text.text or "dora@example.com" in text.text
    if is_whole:
        assert attached.content_type == "message/rfc822"
        assert attached.content.rstrip(b"\n") == RAW.rstrip(b"\n")
    else:
        assert (attached.content, attached.filename) == (b"content\n", "PART.1.BODY")


def test_release_attaches_a_message_with_half_a_character_in_its_subject(tool: Tool) -> None:
    name = make_entry(tool.directory, age=timedelta(0), subject="a \ud800")
    with Sink() as sink:
        assert tool.run("release", "--attach", "--submit-to", f"127.0.0.1:{sink.port}", name) == 0
    root = parse(sink.deliveries[0].content.replace(b"\r\n", b"\n")).root
    assert "Subject: a \ufffd\n" in root.children[0].text


def test_part_is_not_released_as_if_it_were_the_message(tool: Tool) -> None:
    name = make_original(tool.directory)
    assert tool.run("release", "--submit-to", "127.0.0.1:9", name) == 1
    assert "--attach" in tool.complained
    assert tool.complained.count(name) == 1


def test_one_that_cannot_be_sent_does_not_stop_the_others(tool: Tool) -> None:
    make_original(tool.directory)
    good = make_entry(tool.directory, age=timedelta(0))
    with Sink() as sink:
        assert tool.run("release", "--submit-to", f"127.0.0.1:{sink.port}", "--newer-than", "9000d", "--json") == 1
        assert len(sink.deliveries) == 1
    assert json.loads(tool.said)["name"] == good
    assert tool.run("release", "--submit-to", "127.0.0.1:1", "--again", good) == 1
    assert "not submitted" in tool.complained


@pytest.mark.parametrize("word", ["release", "delete"])
def test_all_is_meant_only_if_it_is_said(tool: Tool, word: str) -> None:
    make_original(tool.directory)
    assert tool.run(word) == 2
    assert tool.run(word, "--sender", "nobody@*") == 1
    assert "nothing of that kind" in tool.complained
    assert len(tool.names()) == 1


def test_delete_removes_the_entry_and_its_empty_hour(tool: Tool) -> None:
    name = make_original(tool.directory)
    assert tool.run("delete", "-n", name) == 0
    assert tool.names() == [name]
    assert tool.run("delete", "--sender", "dora@*") == 0
    assert list(tool.directory.iterdir()) == []


def test_expire_takes_what_is_old_so_much_at_a_time(tool: Tool) -> None:
    for hours in (1, 50, 60, 70):
        make_entry(tool.directory, age=timedelta(hours=hours))
    assert tool.run("expire", "--older-than", "2d", "--limit", "2", "--dry-run") == 0
    assert len(tool.names()) == 4
    assert tool.run("expire", "--older-than", "2d", "--limit", "2") == 0
    assert "2 entries deleted, and there are more" in tool.said
    assert tool.run("expire", "--older-than", "2d") == 0
    assert "1 entries deleted;" in tool.said
    assert len(tool.names()) == 1


def test_expire_takes_what_crashes_and_lost_retries_left(tool: Tool) -> None:
    name = make_original(tool.directory)
    left = [tool.directory / name.removeprefix("qdir-")[:13] / ".new-1", tool.directory / ".streams" / "x"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tool.directory / ".key").write_text("secret")
    assert tool.run("expire", "--older-than", "9000d") == 0
    assert all(path.exists() for path in left)
    for path in left:
        os.utime(path, (1, 1))
    os.utime(tool.directory / ".key", (1, 1))
    assert tool.run("expire", "--older-than", "9000d") == 0
    assert not any(path.exists() for path in left)
    assert (tool.directory / ".key").exists()
    assert tool.names() == [name]


@pytest.mark.parametrize("age", ["", "5", "5y", "-1d", "1.5d"])
def test_age_without_a_unit_is_refused(tool: Tool, age: str) -> None:
    with pytest.raises(SystemExit) as ended:
        tool.run("expire", f"--older-than={age}")
    assert ended.value.code == 2
