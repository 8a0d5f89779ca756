# SPDX-License-Identifier: GPL-3.0-or-later
"""Mails by program and by SMTP: all recipients or none, and nothing that a shell or an option parser would obey."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from defang_worker.effects.contract import EffectFailed, Letter, LetterKind
from defang_worker.effects.submission import arguments, is_sendmail, submit
from tests.support.sink import Sink

# Of what is not to run into it.
LIMIT_S = 60.0
LETTER = Letter(
    kind=LetterKind.COPY,
    sender="alice@example.com",
    recipients=("-oQ/tmp@example.org", "bob@example.org"),
    content=(b"Subject: x\n\n", b".\nHello\r\n..\n"),
    mail_args=("SIZE=10", "BODY=8BITMIME", "RET=hdrs", "ENVID=a b", "AUTH=<>"),
)
NOTICE = Letter(kind=LetterKind.ADMIN_NOTICE, sender="", recipients=("root@example.org",), content=(b"\n",))


def hand_over(letter: Letter, target: str) -> None:
    submit(letter, target, time.monotonic() + LIMIT_S)


def program(tmp_path: Path, code: str) -> str:
    path = tmp_path / "sendmail"
    path.write_text(f"#!{sys.executable}\nimport json, sys\n{code}\n")
    path.chmod(0o755)
    return str(path)


def test_program_gets_envelope_as_words_and_message_as_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = f"json.dump([sys.argv[1:], sys.stdin.buffer.read().decode()], open({str(out)!r}, 'w'))"
    hand_over(LETTER, program(tmp_path, code))
    argv, content = json.loads(out.read_text())
    assert argv == ["-i", "-f", "alice@example.com", "-B8BITMIME", "-R", "hdrs", "-V", "a b", "--", *LETTER.recipients]
    assert content == "Subject: x\n\n.\nHello\r\n..\n"


def test_null_sender_and_sendmails_own_options() -> None:
    argv = arguments(NOTICE, "/usr/sbin/sendmail", is_sendmail=True)
    assert argv == ["/usr/sbin/sendmail", "-Ac", "-odd", "-i", "-f", "<>", "--", "root@example.org"]


def test_sendmail_itself_is_told_from_what_stands_in_for_it(tmp_path: Path) -> None:
    for name, content, expected in (
        ("a", b"\x7fELF../etc/mail/submit.cf..", True),
        ("b", b"\x7fELF../libpostfix", False),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        (tmp_path / f"{name}-link").symlink_to(path)
        assert is_sendmail(str(tmp_path / f"{name}-link")) is expected


def test_failing_program_is_told_with_what_it_said(tmp_path: Path) -> None:
    path = program(tmp_path, "sys.exit('queue file\\nwrite error')")
    with pytest.raises(EffectFailed, match=r"copy not submitted to .*: status 1: queue file write error"):
        hand_over(LETTER, path)


def test_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EffectFailed, match="No such file"):
        hand_over(LETTER, str(tmp_path / "none"))


def test_server_gets_the_message_with_its_dots_and_line_ends() -> None:
    with Sink() as sink:
        hand_over(LETTER, f"127.0.0.1:{sink.port}")
        (delivery,) = sink.deliveries
    assert delivery.sender == b"<alice@example.com>"
    assert delivery.recipients == (b"<-oQ/tmp@example.org>", b"<bob@example.org>")
    assert delivery.content == b"Subject: x\r\n\r\n.\r\nHello\r\n..\r\n"


def test_null_sender_goes_by_smtp_too() -> None:
    with Sink() as sink:
        hand_over(NOTICE, f"127.0.0.1:{sink.port}")
        assert sink.deliveries[0].sender == b"<>"


def test_recipient_that_is_refused_stops_the_whole_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    import smtplib

    monkeypatch.setattr(smtplib.SMTP, "rcpt", lambda _self, to: (550, b"no") if "bob" in to else (250, b"ok"))
    with Sink() as sink:
        with pytest.raises(EffectFailed, match=r"RCPT bob@example\.org: 550 no"):
            hand_over(LETTER, f"127.0.0.1:{sink.port}")
        assert sink.deliveries == []


def test_address_with_a_line_end_is_refused() -> None:
    bad = Letter(kind=LetterKind.COPY, sender="a@b\r\nRCPT TO:<c@d>", recipients=("a@b",), content=(b"\n",))
    with Sink() as sink:
        with pytest.raises(EffectFailed):
            hand_over(bad, f"127.0.0.1:{sink.port}")
        assert sink.deliveries == []


def test_server_that_is_not_there_is_an_error() -> None:
    with Sink() as sink:
        port = sink.port
    with pytest.raises(EffectFailed, match="not submitted to 127"):
        hand_over(LETTER, f"127.0.0.1:{port}")


@pytest.mark.parametrize("farewell", [b"221 bye", b"250 bye", b"421 busy", b"500 what?", b""])
def test_what_a_server_says_to_quit_does_not_have_a_letter_sent_again(farewell: bytes) -> None:
    with Sink(farewell=farewell) as sink:
        hand_over(LETTER, f"127.0.0.1:{sink.port}")
        assert len(sink.deliveries) == 1


def test_server_that_dribbles_does_not_outlast_the_limit() -> None:
    ended = threading.Event()

    def greet() -> None:
        connection, _ = listener.accept()
        # Never silent for long, and never done: at last it hangs up, lest a client without a limit hangs for ever.
        with connection:
            for _ in range(600):
                if ended.wait(0.1):
                    return
                connection.sendall(b"220-x\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        dribbler = threading.Thread(target=greet, daemon=True)
        dribbler.start()
        with pytest.raises(EffectFailed, match=r"no time is left|timed out"):
            submit(NOTICE, f"127.0.0.1:{listener.getsockname()[1]}", time.monotonic() + 0.5)
        ended.set()
        dribbler.join(LIMIT_S)


@pytest.mark.parametrize("is_program", [True, False])
def test_nothing_is_begun_when_the_time_is_over(tmp_path: Path, is_program: bool) -> None:
    out = tmp_path / "out"
    with Sink() as sink:
        path = program(tmp_path, f"open({str(out)!r}, 'w')")
        with pytest.raises(EffectFailed, match="no time is left"):
            submit(NOTICE, path if is_program else f"127.0.0.1:{sink.port}", time.monotonic())
        assert sink.deliveries == []
    assert not out.exists()


def test_own_name_is_told_without_asking_the_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> str:
        raise AssertionError("asked")

    monkeypatch.setattr(socket, "getfqdn", ask)
    monkeypatch.setattr(socket, "gethostbyname", ask)
    monkeypatch.setattr(socket, "gethostname", lambda: "mail")
    with Sink() as sink:
        hand_over(NOTICE, f"127.0.0.1:{sink.port}")
        assert sink.greeted_as == [b"[127.0.0.1]"]
