# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker test-mail` as a person or a script starts it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 60
KEYS = [
    *("file", "stage", "verdict", "code", "dsn", "reply", "modified", "changes", "quarantined", "notifications"),
    *("warnings", "defects", "elapsed_ms"),
]
FILTER = """
from defang_worker import Filter, Message, Part


class Site(Filter):
    def on_start(self) -> None:
        print("printed by the filter")

    def filter_begin(self, message: Message) -> None:
        match message.subject:
            case "reject":
                message.reject("No\\nthanks")
            case "discard":
                message.discard()
            case "later":
                message.tempfail("Later")
            case "fault":
                raise RuntimeError("out of order")
            case "macro":
                message.warn(message.envelope.macros["x"])
            case "hold":
                message.mta_quarantine("look")
        self.log.info("from %s", message.envelope.sender)

    def filter_part(self, message: Message, part: Part) -> None:
        if part.matches(r"exe$"):
            part.drop(warning="gone")

    def filter_wrapup(self, message: Message) -> None:
        if message.subject == "header":
            message.headers.add("X-New", "1")
"""


def run(*words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "defang_worker", "test-mail", *map(str, words)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=WAIT_S, check=False)


@pytest.fixture
def filter_path(spool: Path) -> Path:
    path = spool / "site.py"
    path.write_text(FILTER)
    return path


def letter(subject: str) -> bytes:
    return f"From: a@example.com\nSubject: {subject}\n\nHello\n".encode()


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("subject", "answer", "status"),
    [
        ("lunch", ["accept", 250, "2.0.0", ""], 0),
        ("reject", ["reject", 554, "5.7.1", "No\nthanks"], 0),
        ("discard", ["discard", 250, "2.0.0", ""], 0),
        ("later", ["tempfail", 451, "4.3.0", "Later"], 0),
        ("fault", ["tempfail", 451, "4.3.0", "The mail filter has a problem, please try again later"], 1),
    ],
)
def test_json_is_one_object_a_message(filter_path: Path, subject: str, answer: list[object], status: int) -> None:
    done = run("-f", filter_path, "--json", "-", stdin=letter(subject))
    assert done.returncode == status
    (found,) = objects(done)
    assert list(found) == KEYS
    assert [found[key] for key in KEYS[:6]] == ["-", "message", *answer]
    assert (found["modified"], found["changes"], found["quarantined"], found["notifications"]) == (False, [], [], [])
    assert found["elapsed_ms"] > 0


def test_json_tells_changes_and_what_is_held(filter_path: Path) -> None:
    (held,) = objects(run("-f", filter_path, "--json", "-", stdin=letter("hold")))
    assert held["quarantined"] == [{"where": "mail-server", "reason": "look"}]
    (headed,) = objects(run("-f", filter_path, "--json", "-", stdin=letter("header")))
    assert headed["changes"] == [{"change": "add-header", "name": "X-New", "value": "1"}]
    assert headed["modified"] is True


def test_session_is_that_of_the_options(filter_path: Path, spool: Path) -> None:
    (spool / "a.eml").write_bytes(letter("macro"))
    done = run("-f", filter_path, "--json", "--macro", "x=y=z", "--from", "me@example.com", spool / "a.eml")
    (found,) = objects(done)
    assert found["warnings"] == ["y=z"]
    done = run("--filter", filter_path, "--from", "me@example.com", spool / "a.eml", "--macro", "x=")
    assert b"from <me@example.com>" in done.stdout


def test_fault_shows_its_place_and_its_traceback_on_standard_error(filter_path: Path) -> None:
    done = run("-f", filter_path, "--json", "-", stdin=letter("fault"))
    told = done.stderr.decode()
    assert f"{filter_path}:18: RuntimeError: out of order" in told
    assert "Traceback (most recent call last):" in told
    assert told.index("printed by the filter") < told.index("Traceback")


def test_report_has_the_outcome_and_the_message(filter_path: Path) -> None:
    done = run("-f", filter_path, "-", stdin=letter("header"))
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "-: accept, changed (250 2.0.0, at message)"
    assert lines[-7:] == ["", "From: a@example.com", "Subject: header", "X-New: 1", "", "Hello", ""]
    assert b"\x1b" not in done.stdout


def test_diff_has_only_what_was_changed(filter_path: Path) -> None:
    done = run("-f", filter_path, "--diff", "--color", "always", "-", stdin=letter("header"))
    assert b"\x1b[32m+X-New: 1\x1b[0m\n" in done.stdout
    plain = run("-f", filter_path, "--diff", "-", stdin=letter("header")).stdout
    assert b"\n+X-New: 1\n" in plain
    assert b"\x1b" not in plain


def test_what_a_sender_wrote_does_not_reach_the_terminal(filter_path: Path) -> None:
    raw = letter("header").replace(b"Hello", b"\x1b[2J\x9b")
    for words in (["--diff"], []):
        done = run("-f", filter_path, *words, "-", stdin=raw)
        assert b"\x1b" not in done.stdout
        assert b"X-New" in done.stdout


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_delivered_message_is_written_as_it_is(filter_path: Path, spool: Path, newline: bytes) -> None:
    done = run("-f", filter_path, "-o", spool / "out", "-", stdin=letter("header").replace(b"\n", newline))
    assert done.returncode == 0
    expected = b"From: a@example.com\nSubject: header\nX-New: 1\n\nHello\n"
    assert (spool / "out").read_bytes() == expected.replace(b"\n", newline)


def test_message_may_go_to_standard_output_and_the_report_beside_it(filter_path: Path) -> None:
    done = run("-f", filter_path, "-o", "-", "-", stdin=letter("lunch"))
    assert done.stdout == letter("lunch")
    assert b"accept" in done.stderr


def test_nothing_is_written_for_a_refused_message(filter_path: Path, spool: Path) -> None:
    run("-f", filter_path, "-o", spool / "out", "-", stdin=letter("reject"))
    assert not (spool / "out").exists()


@pytest.fixture
def letters(spool: Path) -> Path:
    """A directory with messages at two depths, a hidden file and a working directory."""
    top = spool / "mail"
    (top / "below").mkdir(parents=True)
    (top / "work").mkdir()
    (top / "1.eml").write_bytes(letter("lunch"))
    (top / "2.eml").write_bytes(letter("reject"))
    (top / "below" / "3.eml").write_bytes(letter("header"))
    (top / "work" / "INPUTMSG").write_bytes(letter("discard"))
    (top / "work" / "COMMANDS").write_bytes(b"F\n")
    (top / ".hidden").write_bytes(letter("fault"))
    return top


def test_directory_is_summed_up(filter_path: Path, letters: Path) -> None:
    done = run("-f", filter_path, letters)
    assert done.returncode == 0
    text = done.stdout.decode()
    rows = [line.split() for line in text.splitlines()[:4]]
    assert [row[0] for row in rows] == ["accept", "reject", "accept", "discard"]
    assert "4 messages: 2 accept, 1 reject, 1 discard; 1 changed, 0 filter faults" in text
    assert "the slowest:" in text
    assert "4 of 4 messages" in done.stderr.decode()


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_directory_without_a_message_is_an_error_and_others_are_tried_all_the_same(
    filter_path: Path, letters: Path, spool: Path, words: list[str]
) -> None:
    empty = spool / "empty"
    empty.mkdir()
    (empty / ".hidden").write_bytes(letter("header"))
    done = run("-f", filter_path, *words, empty)
    assert done.returncode == 2
    assert f"defang-worker: {empty}: there is no message in it\n" in done.stderr.decode()
    done = run("-f", filter_path, "--json", empty, letters)
    assert done.returncode == 2
    assert len(objects(done)) == 4


@pytest.mark.parametrize("word", ["nonsense", "", "192.0.2.256", "192.0.2.1/24", "[2001:db8::1]"])
def test_address_of_the_client_that_is_none_is_refused(filter_path: Path, letters: Path, word: str) -> None:
    done = run("-f", filter_path, "--relay-ip", word, letters / "1.eml")
    assert done.returncode == 2
    assert f"--relay-ip: no IPv4 or IPv6 address: {word!r}" in done.stderr.decode()
    assert run("-f", filter_path, "--relay-ip", "2001:db8::1", letters / "1.eml").returncode == 0


def test_directory_gives_an_object_for_each_message(filter_path: Path, letters: Path) -> None:
    found = objects(run("-f", filter_path, "--json", letters))
    assert [one["file"] for one in found] == [
        str(letters / name) for name in ("1.eml", "2.eml", "below/3.eml", "work/INPUTMSG")
    ]


def test_delivered_messages_of_a_directory_keep_their_places(filter_path: Path, letters: Path, spool: Path) -> None:
    run("-f", filter_path, "-o", spool / "out", letters)
    written = sorted(str(path.relative_to(spool / "out")) for path in (spool / "out").rglob("*") if path.is_file())
    assert written == ["1.eml", "below/3.eml"]


def test_delivered_messages_of_one_name_do_not_replace_each_other(
    filter_path: Path, letters: Path, spool: Path
) -> None:
    (letters / "below" / "1.eml").write_bytes(letter("header"))
    done = run("-f", filter_path, "-o", spool / "out", letters / "1.eml", letters / "below" / "1.eml")
    assert done.returncode == 2
    assert b"another message of this run has that name" in done.stderr
    assert (spool / "out" / "1.eml").read_bytes() == letter("lunch")


def test_file_that_cannot_be_read_does_not_keep_others_from_being_tried(filter_path: Path, letters: Path) -> None:
    done = run("-f", filter_path, "--json", letters / "none.eml", letters / "1.eml")
    assert done.returncode == 2
    assert len(objects(done)) == 1
    assert b"none.eml: No such file" in done.stderr


@pytest.mark.parametrize("words", [[], ["--macro", "x", "-"], ["--mta", "exim", "-"], ["--color", "red", "-"]])
def test_wrong_words_are_a_usage_error(filter_path: Path, words: list[str]) -> None:
    assert run("-f", filter_path, *words).returncode == 2


@pytest.mark.parametrize(
    "source", ["def filter_begn(m): pass\n", "def on_start(): 1 / 0\n", "import nothing_like_this\n"]
)
def test_filter_that_cannot_be_used_is_a_filter_fault(spool: Path, source: str) -> None:
    (spool / "site.py").write_text(source)
    done = run("-f", spool / "site.py", "-", stdin=letter("lunch"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"defang-worker: filter not usable: " in done.stderr
    assert b"site.py:1" in done.stderr


def test_failing_on_stop_is_a_filter_fault(spool: Path) -> None:
    (spool / "site.py").write_text("def on_stop(): 1 / 0\n")
    done = run("-f", spool / "site.py", "--json", "-", stdin=letter("lunch"))
    assert done.returncode == 1
    assert objects(done)[0]["verdict"] == "accept"


def test_interrupt_ends_the_run_behind_the_message_in_work(spool: Path, letters: Path) -> None:
    go_on = spool / "go-on"
    (spool / "site.py").write_text(
        "import os, sys, time\n\n\ndef filter_begin(message):\n"
        "    print('in work', flush=True)\n"
        f"    while not os.path.exists({str(go_on)!r}):\n        time.sleep(0.01)\n"
    )
    command = [sys.executable, "-m", "defang_worker", "test-mail", "-f", str(spool / "site.py"), str(letters)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tried:
        assert tried.stderr is not None
        assert tried.stderr.readline() == b"in work\n"
        tried.send_signal(signal.SIGINT)
        # The signal is served before the filter can find the file: it waits in the interpreter that looks for it.
        go_on.write_text("")
        out, _ = tried.communicate(timeout=WAIT_S)
    assert tried.returncode == 130
    assert "1 message: 1 accept" in out.decode()
