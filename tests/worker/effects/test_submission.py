# SPDX-License-Identifier: GPL-3.0-or-later
"""Mails by program and by SMTP: all recipients or none, and nothing that a shell or an option parser would obey."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from defang_worker.effects.contract import EffectFailed, Letter, LetterKind
from defang_worker.effects.submission import arguments, is_sendmail, submit
from tests.support.sink import Sink

LETTER = Letter(
    kind=LetterKind.COPY,
    sender="alice@example.com",
    recipients=("-oQ/tmp@example.org", "bob@example.org"),
    content=(b"Subject: x\n\n", b".\nHello\r\n..\n"),
    mail_args=("SIZE=10", "BODY=8BITMIME", "RET=hdrs", "ENVID=a b", "AUTH=<>"),
)
NOTICE = Letter(kind=LetterKind.ADMIN_NOTICE, sender="", recipients=("root@example.org",), content=(b"\n",))


def program(tmp_path: Path, code: str) -> str:
    path = tmp_path / "sendmail"
    path.write_text(f"#!{sys.executable}\nimport json, sys\n{code}\n")
    path.chmod(0o755)
    return str(path)


def test_program_gets_envelope_as_words_and_message_as_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = f"json.dump([sys.argv[1:], sys.stdin.buffer.read().decode()], open({str(out)!r}, 'w'))"
    submit(LETTER, program(tmp_path, code))
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
        submit(LETTER, path)


def test_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EffectFailed, match="No such file"):
        submit(LETTER, str(tmp_path / "none"))


def test_server_gets_the_message_with_its_dots_and_line_ends() -> None:
    with Sink() as sink:
        submit(LETTER, f"127.0.0.1:{sink.port}")
        (delivery,) = sink.deliveries
    assert delivery.sender == b"<alice@example.com>"
    assert delivery.recipients == (b"<-oQ/tmp@example.org>", b"<bob@example.org>")
    assert delivery.content == b"Subject: x\r\n\r\n.\r\nHello\r\n..\r\n"


def test_null_sender_goes_by_smtp_too() -> None:
    with Sink() as sink:
        submit(NOTICE, f"127.0.0.1:{sink.port}")
        assert sink.deliveries[0].sender == b"<>"


def test_recipient_that_is_refused_stops_the_whole_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    import smtplib

    monkeypatch.setattr(smtplib.SMTP, "rcpt", lambda _self, to: (550, b"no") if "bob" in to else (250, b"ok"))
    with Sink() as sink:
        with pytest.raises(EffectFailed, match=r"RCPT bob@example\.org: 550 no"):
            submit(LETTER, f"127.0.0.1:{sink.port}")
        assert sink.deliveries == []


def test_address_with_a_line_end_is_refused() -> None:
    bad = Letter(kind=LetterKind.COPY, sender="a@b\r\nRCPT TO:<c@d>", recipients=("a@b",), content=(b"\n",))
    with Sink() as sink:
        with pytest.raises(EffectFailed):
            submit(bad, f"127.0.0.1:{sink.port}")
        assert sink.deliveries == []


def test_server_that_is_not_there_is_an_error() -> None:
    with Sink() as sink:
        port = sink.port
    with pytest.raises(EffectFailed, match="not submitted to 127"):
        submit(LETTER, f"127.0.0.1:{port}")
