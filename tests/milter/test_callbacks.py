# SPDX-License-Identifier: GPL-3.0-or-later
"""The callbacks in the order of SMTP: facts gathered, the multiplexor asked, answers given, nothing left behind."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import milter
import pytest

from defang_common.wire import commands
from defang_common.wire.spool import KEEP_MARK
from defang_milter.workdir import WorkDir
from tests.milter.conftest import MY_IP, FakeMux, Play, directory_of, scan_giving

if TYPE_CHECKING:
    from tests.milter.conftest import Answerer

MakePlay = Callable[..., Play]

FAULT = ("setreply", "451", "4.3.0", "The mail filter has a problem, please try again later")


def _keep_files(mux: FakeMux, into: dict[str, bytes], results: bytes = b"F\n") -> None:
    """Let the scan note all files of the working directory."""

    def scan(request: bytes) -> bytes:
        into.update({file.name: file.read_bytes() for file in directory_of(request).iterdir()})
        return scan_giving(results)(request)

    mux.answers[b"scan"] = scan


def _undecodable(play: Play, name: bytes) -> None:
    """What pymilter does with a HELO or header name that is not UTF-8: no callback, but the excepthook."""
    with pytest.raises(UnicodeDecodeError) as caught:
        name.decode()
    play.callbacks.excepthook(UnicodeDecodeError, caught.value, None)


# -- negotiation


def _negotiate(play: Play, actions: int = 0x1FF, steps: int = 0x1FFFFF) -> list[int]:
    options = [actions, steps, 0, 0]
    assert play.callbacks.negotiate(play.context, options) == milter.CONTINUE
    return options


def test_all_actions_are_taken_and_answers_spared_where_nobody_is_asked(play: MakePlay) -> None:
    steps = milter.P_NODATA | milter.P_NOUNKNOWN | milter.P_NR_HDR | milter.P_NR_EOH | milter.P_NR_BODY
    no_reply = {"-q": milter.P_NR_CONN, "-H": milter.P_NR_HELO, "-t": milter.P_NR_RCPT}
    assert _negotiate(play("-N", "-H", "-t")) == [0x1FF, steps, 0, 0]
    assert _negotiate(play("-N", "-r", "-q", "-H", "-t")) == [0x1FF, steps, 0, 0]
    assert _negotiate(play("-N")) == [0x1FF, steps | no_reply["-H"] | no_reply["-t"], 0, 0]
    assert _negotiate(play("-q")) == [0x1FF, steps | milter.P_RCPT_REJ | sum(no_reply.values()), 0, 0]
    assert _negotiate(play("-H", "-t"), actions=0x3F, steps=0x7F) == [0x3F, steps, 0, 0]


def test_what_is_promised_in_the_negotiation_is_kept(play: MakePlay, mux: FakeMux) -> None:
    mux.answers[b"relayok"] = mux.answers[b"helook"] = mux.answers[b"recipok"] = b"ok 1\n"

    def answers(session: Play) -> list[int]:
        callbacks, context = session.callbacks, session.context
        connected = callbacks.connect(context, "client.example.com", socket.AF_INET, ("192.0.2.7", 1))
        greeted = callbacks.helo(context, "helo.example.com")
        session.mail()
        told = [connected, greeted, callbacks.envrcpt(context, b"<r1@example.org>"), callbacks.eoh(context)]
        session.close()
        return told

    assert answers(play("-q")) == [milter.NOREPLY] * 4
    assert answers(play("-H", "-t", "-a", "x")) == [*[milter.CONTINUE] * 3, milter.NOREPLY]
    assert answers(play("-q", "-r")) == [milter.CONTINUE, *[milter.NOREPLY] * 3]


def test_macro_lists_are_sent_for_every_stage_if_so_set_and_understood(play: MakePlay) -> None:
    quiet, chatty = play("-a", "extra"), play("-y", "-a", "extra", "-a", "x")
    _negotiate(quiet)
    _negotiate(chatty, actions=0x3F)
    assert quiet.context.calls == chatty.context.calls == []
    _negotiate(chatty)
    assert [call[1] for call in chatty.context.calls] == [0, 1, 2, 3, 4, 5, 6]
    lists = {call[2] for call in chatty.context.calls}
    assert len(lists) == 1
    words = str(lists.pop()).split()
    assert words[:2] == ["_", "{auth_authen}"]
    assert words[-2:] == ["{extra}", "x"]
    assert len(words) == 25


def test_a_failing_negotiation_is_no_continue(play: MakePlay) -> None:
    broken = play("-y")
    broken.context.refused.add("setsymlist")
    assert broken.callbacks.negotiate(broken.context, [0x1FF, 0, 0, 0]) == milter.TEMPFAIL


# -- connect and HELO


def test_a_client_is_let_in_while_a_worker_is_free(play: MakePlay, mux: FakeMux) -> None:
    session = play()
    assert session.connect() == milter.CONTINUE
    mux.answers[b"free"] = b"0\n"
    assert session.connect() == milter.TEMPFAIL
    assert session.connect(("127.0.0.1", 5)) == milter.TEMPFAIL
    assert mux.requests == [b"free\n"] * 3


def test_the_reserve_lets_only_the_loopback_in(play: MakePlay, mux: FakeMux) -> None:
    session = play("-R", "4")
    assert session.connect() == milter.TEMPFAIL
    assert session.connect(("127.0.0.1", 5)) == milter.CONTINUE
    mux.answers[b"free"] = b"5\n"
    assert session.connect() == milter.CONTINUE


def test_queueing_connections_are_let_in_unasked(play: MakePlay, mux: FakeMux) -> None:
    assert play("-q", "-R", "4").connect() == milter.CONTINUE
    assert mux.requests == []


def test_a_client_that_was_not_let_in_gets_no_mail_through(play: MakePlay, mux: FakeMux) -> None:
    session = play()
    mux.answers[b"free"] = b"error: what?\n"
    assert session.connect() == milter.TEMPFAIL
    session.helo()
    assert [session.mail(), session.eom()] == [milter.TEMPFAIL] * 2
    assert session.directories() == []


def test_callbacks_without_a_connection_fail(play: MakePlay) -> None:
    session = play("-H", "-t")
    assert [session.helo(), session.mail(), session.rcpt(), session.eom()] == [milter.TEMPFAIL] * 4
    assert [session.header("A", b"b"), session.body(b"x")] == [milter.NOREPLY] * 2
    assert [session.callbacks.abort(session.context), session.close()] == [milter.CONTINUE] * 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"ok 0 no 550 5.1.1 7\n", milter.REJECT),
        (b"ok -1\n", milter.TEMPFAIL),
        (b"ok 1\n", milter.CONTINUE),
        (b"ok 2\n", milter.ACCEPT),
        (b"ok 3\n", milter.DISCARD),
        (b"nonsense", milter.TEMPFAIL),
    ],
)
def test_the_relay_check_decides_at_once_and_without_words(
    play: MakePlay, mux: FakeMux, answer: bytes, status: int
) -> None:
    mux.answers[b"relayok"] = answer
    session = play("-r", "-q")
    session.context.macros |= {"{daemon_port}": b"25", "{if_addr}": b"198.51.100.1"}
    assert session.connect() == status
    assert mux.requests == [b"relayok 192.0.2.7 client.example.com 45678 198.51.100.1 25 Q1\n"]
    assert session.context.calls == ([FAULT] if answer == b"nonsense" else [])


@pytest.mark.parametrize("answer", [b"ok 0\n", b"ok -1\n"])
def test_a_client_that_the_relay_check_refused_gets_no_mail_through(
    play: MakePlay, mux: FakeMux, answer: bytes
) -> None:
    mux.answers[b"relayok"] = answer
    session = play("-r", "-q")
    session.connect()
    session.helo()
    assert [session.mail(), session.eom()] == [milter.TEMPFAIL] * 2
    assert session.directories() == []


@pytest.mark.parametrize("if_addr", [b"", b"127.0.0.1", None])
def test_without_a_useful_address_from_the_mta_our_own_stands_in(
    play: MakePlay, mux: FakeMux, if_addr: bytes | None
) -> None:
    mux.answers[b"relayok"] = b"ok 1\n"
    session = play("-r", "-q")
    session.context.macros |= {"{daemon_port}": b"smtp"} | ({} if if_addr is None else {"{if_addr}": if_addr})
    session.connect()
    assert mux.requests[0].split()[4:6] == [MY_IP, b"0"]


def test_the_helo_check_is_asked_and_answers_with_its_words(play: MakePlay, mux: FakeMux) -> None:
    mux.answers[b"helook"] = b"ok 0 who%20are%20you 550 5.7.2 0\n"
    session = play("-H", "-q")
    session.connect()
    assert session.helo("a b") == milter.REJECT
    assert mux.requests == [b"helook 192.0.2.7 client.example.com a%20b 45678 192.0.2.1 0 Q1\n"]
    assert session.context.calls == [("setreply", "550", "5.7.2", "who are you")]


def test_a_delay_is_served_before_the_answer(play: MakePlay, mux: FakeMux, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("defang_milter.callbacks.time.sleep", slept.append)
    session = play("-H", "-s", "-t", "-q")
    session.connect()
    mux.answers |= {b"helook": b"ok 1 ok 250 2.1.0 3\n", b"senderok": b"ok 1 ok 250 2.1.0 4\n"}
    mux.answers[b"recipok"] = b"ok -1 later 451 4.3.0 5\n"
    assert [session.helo(), session.mail(), session.rcpt()] == [milter.CONTINUE, milter.CONTINUE, milter.TEMPFAIL]
    assert slept == [3, 4, 5]


def test_a_delay_ends_where_no_client_waits_any_more(
    play: MakePlay, mux: FakeMux, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("defang_milter.callbacks.time.sleep", slept.append)
    session = play("-H", "-q")
    session.connect()
    mux.answers[b"helook"] = b"ok 0 no 550 5.7.1 999999999\n"
    assert session.helo() == milter.REJECT
    assert slept == [300]


# -- envelope


def test_mail_makes_the_directory_of_the_queue_id(play: MakePlay, spool: Path) -> None:
    session = play("-q")
    session.to_mail()
    assert session.directories() == [spool / "mdefang-Q1"]
    session.close()
    assert session.directories() == []


def test_a_directory_that_exists_is_another_message_and_a_failure(
    play: MakePlay, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (spool / "mdefang-Q1").mkdir()
    session = play("-q")
    session.connect()
    assert session.mail() == milter.TEMPFAIL
    assert (spool / "mdefang-Q1").exists()
    assert session.context.calls == [FAULT]
    assert [line for line in caplog.messages if "mdefang-Q1" in line and "File exists" in line]


def test_a_queue_id_that_is_no_file_name_is_a_failure(play: MakePlay) -> None:
    session = play("-q")
    session.context.macros["i"] = b"../../tmp/x"
    session.connect()
    assert session.mail() == milter.TEMPFAIL
    assert session.directories() == []


def test_a_late_queue_id_belongs_to_its_own_message_only(play: MakePlay, mux: FakeMux, spool: Path) -> None:
    files: dict[str, bytes] = {}
    _keep_files(mux, files)
    session = play("-q")
    for queue_id in (b"PF1", b"PF2"):
        del session.context.macros["i"]
        if queue_id == b"PF1":
            session.connect()
        session.mail()
        (directory,) = session.directories()
        assert directory.name not in ("mdefang-PF1", "mdefang-PF2")
        session.context.macros["i"] = queue_id
        session.rcpt()
        session.eoh()
        assert session.eom() == milter.CONTINUE
        assert mux.requests[-1] == b"scan %b %b\n" % (queue_id, bytes(directory))
        assert files["COMMANDS"].count(b"\nQ") == 1
        assert commands.decode(files["COMMANDS"]).queue_id == queue_id


@pytest.mark.parametrize(
    ("answer", "status", "kept"),
    [
        (b"ok 1\n", milter.CONTINUE, True),
        (b"ok 0\n", milter.REJECT, False),
        (b"ok -1\n", milter.TEMPFAIL, False),
        (b"ok 2\n", milter.ACCEPT, False),
        (b"ok 3\n", milter.DISCARD, False),
        (b"", milter.TEMPFAIL, False),
    ],
)
def test_a_sender_check_that_does_not_go_on_takes_the_directory_along(
    play: MakePlay, mux: FakeMux, answer: bytes, status: int, *, kept: bool
) -> None:
    written: list[bytes] = []

    def check(request: bytes) -> bytes:
        written.append(Path(request.split()[5].decode(), "COMMANDS").read_bytes())
        return answer

    mux.answers[b"senderok"] = check
    session = play("-s", "-q")
    session.connect()
    assert session.mail(b"<sender@example.com>", b"SIZE=100") == status
    assert bool(session.directories()) is kept
    assert bool(session.callbacks.in_work) is kept
    known = commands.decode(written[0], need_end=False)
    assert (known.sender, known.sender_args, known.queue_id) == (b"<sender@example.com>", [b"SIZE=100"], b"Q1")


@pytest.mark.parametrize(
    ("answer", "status", "kept"),
    [
        (b"ok 0\n", milter.REJECT, True),
        (b"ok -1\n", milter.TEMPFAIL, True),
        (b"error: No free workers\n", milter.TEMPFAIL, True),
        (b"ok 2\n", milter.ACCEPT, False),
        (b"ok 3\n", milter.DISCARD, False),
    ],
)
def test_a_refused_recipient_leaves_the_message_to_the_others(
    play: MakePlay, mux: FakeMux, answer: bytes, status: int, *, kept: bool
) -> None:
    mux.answers[b"recipok"] = answer
    session = play("-t", "-q")
    session.to_mail()
    assert session.rcpt() == status
    assert bool(session.directories()) is kept


def test_a_recipient_is_written_only_after_it_was_accepted(play: MakePlay, mux: FakeMux) -> None:
    files: dict[str, bytes] = {}
    seen: list[bytes] = []
    _keep_files(mux, files)

    def check(request: bytes) -> bytes:
        seen.append(Path(request.split()[7].decode(), "COMMANDS").read_bytes())
        return b"ok 0\n" if b"r1@" in request.split()[1] else b"ok 1\n"

    mux.answers[b"recipok"] = check
    session = play("-t", "-q")
    session.to_mail()
    session.context.macros |= {"{rcpt_mailer}": b"local", "{rcpt_addr}": b"root"}
    assert session.rcpt(b"<r1@example.org>") == milter.REJECT
    assert session.rcpt(b"<r2@example.org>", b"NOTIFY=NEVER") == milter.CONTINUE
    session.rcpt(b"<r3@example.org>")
    session.eoh()
    assert session.eom() == milter.CONTINUE
    assert [request.split()[5] for request in mux.requests[:3]] == [b"<r1@example.org>"] * 3
    assert mux.requests[1].endswith(b" local ? root NOTIFY=NEVER\n")
    assert [text.count(b"\nR") for text in seen] == [0, 0, 1]
    known = commands.decode(files["COMMANDS"])
    assert [recipient.address for recipient in known.recipients] == [b"<r2@example.org>", b"<r3@example.org>"]
    assert known.recipients[0].esmtp_args == [b"NOTIFY=NEVER"]


# -- content and verdict


def test_the_filter_finds_the_message_as_it_was_sent(play: MakePlay, mux: FakeMux) -> None:
    files: dict[str, bytes] = {}
    _keep_files(mux, files)
    session = play("-q", "-a", "extra", validation_name=b"X-Key")
    session.context.macros |= {"{daemon_name}": b"MTA", "{extra}": b"e"}
    session.to_mail()
    session.rcpt()
    for name, value in [
        ("Subject", b"a\n b"),
        ("X-Key", b"10.1.2.3"),
        ("Content-Type", b"a/b"),
        ("Content-Type", b"c/d"),
    ]:
        assert session.header(name, value) == milter.NOREPLY
    session.eoh()
    session.body(b"line\r")
    session.body(b"\nbare\rend\r\n")
    assert session.eom() == milter.CONTINUE
    assert files["INPUTMSG"] == b"Subject: a\n b\nX-Key: 10.1.2.3\nContent-Type: a/b\n\nline\nbare\rend\n"
    assert files["HEADERS"] == b"Subject: a b\nX-Key: 10.1.2.3\nContent-Type: a/b\n"
    assert files["PRISTINE_HEADERS"] == (b"Subject: a\n b\nX-Key: 10.1.2.3\nContent-Type: a/b\nContent-Type: c/d\n")
    lines = files["COMMANDS"].splitlines()
    assert lines[0][:1] == b"i"
    assert lines[1:] == [
        b"S<sender@example.com>",
        b"=daemon_name MTA",
        b"=i Q1",
        b"=j mx.example.org",
        b"=client_port 45678",
        b"=extra e",
        b"QQ1",
        b"Hclient.example.com",
        b"I192.0.2.7",
        b"Ehelo.example.com",
        b"R<r1@example.org> ? ? ?",
        b"Ua%20b",
        b"J10.1.2.3",
        b"?",
        b"F",
    ]
    assert [call[:3] for call in session.context.calls] == [
        ("addheader", "X-Scanned-By", session.context.calls[0][2]),
        ("chgheader", "X-Key", 1),
        ("chgheader", "Content-Type", 2),
    ]
    assert session.directories() == []


def test_bare_carriage_returns_are_stripped_if_so_set(play: MakePlay, mux: FakeMux) -> None:
    files: dict[str, bytes] = {}
    _keep_files(mux, files)
    session = play("-q", "-c")
    session.to_mail()
    session.eoh()
    session.body(b"a\rb\r\n\r")
    session.eom()
    assert files["INPUTMSG"] == b"\nab\n"
    assert b"\n?\nF\n" in files["COMMANDS"]


def test_a_message_without_end_of_header_has_no_empty_line(play: MakePlay, mux: FakeMux) -> None:
    files: dict[str, bytes] = {}
    _keep_files(mux, files)
    session = play("-q")
    session.to_mail()
    session.header("A", b"b")
    assert session.eom() == milter.CONTINUE
    assert files["INPUTMSG"] == files["HEADERS"] == b"A: b\n"


@pytest.mark.parametrize(
    ("options", "if_addr", "value"),
    [
        (("-x", "scanned"), None, "scanned on 192.0.2.1"),
        (("-x", "scanned"), b"192.0.2.1", "scanned on 192.0.2.1"),
        (("-x", "scanned"), b"198.51.100.1", "scanned"),
        (("-x", ""), None, None),
        (("-X",), None, None),
    ],
)
def test_scanned_by_names_our_own_address_only(
    play: MakePlay, options: tuple[str, ...], if_addr: bytes | None, value: str | None
) -> None:
    session = play("-q", *options)
    if if_addr is not None:
        session.context.macros["{if_addr}"] = if_addr
    assert session.to_end() == milter.CONTINUE
    assert session.context.calls == ([] if value is None else [("addheader", "X-Scanned-By", value)])


@pytest.mark.parametrize(
    ("results", "status", "call"),
    [
        (b"B550 5.7.1 no%20way\n", milter.REJECT, ("setreply", "550", "5.7.1", "no way")),
        (b"B\nF\n", milter.REJECT, ("setreply", "554", "5.7.1", "Forbidden for policy reasons")),
        (b"HX a\nT\n", milter.TEMPFAIL, ("setreply", "451", "4.3.0", "Please try again later")),
        (b"D", milter.DISCARD, None),
        (b"F", milter.CONTINUE, None),
    ],
)
def test_the_filters_verdict_reaches_the_mta(
    play: MakePlay, mux: FakeMux, results: bytes, status: int, call: tuple[str, ...] | None
) -> None:
    mux.answers[b"scan"] = scan_giving(results)
    session = play("-q", "-X")
    assert session.to_end() == status
    assert session.context.calls == ([] if call is None else [call])
    assert session.directories() == []


@pytest.mark.parametrize(
    ("results", "line"),
    [
        (b"B554 5.7.1 No%20lotteries\nF\n", "rejected: 554 5.7.1 No lotteries"),
        (b"B550 5.7.1 two%0Alines%1B\n", "rejected: 550 5.7.1 two\\nlines\\x1b"),
        (b"T\nF\n", "deferred: 451 4.3.0 Please try again later"),
        (b"D\n", "discarded"),
        (b"Qlooks%20odd\nF\n", "quarantined: looks odd"),
        (b"Q\nF\n", "quarantined"),
        (b"Qlooks%20odd\nD\n", "discarded; quarantined: looks odd"),
    ],
)
def test_a_message_that_does_not_pass_is_told_in_one_line(
    play: MakePlay, mux: FakeMux, caplog: pytest.LogCaptureFixture, results: bytes, line: str
) -> None:
    caplog.set_level(logging.INFO)
    mux.answers[b"scan"] = scan_giving(results)
    play("-q", "-X").to_end()
    assert caplog.messages == [
        f"Q1: {line}, from=<sender@example.com>, to=<r1@example.org>, relay=client.example.com [192.0.2.7]"
    ]


def test_a_message_that_passes_is_not_told(play: MakePlay, mux: FakeMux, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    mux.answers |= dict.fromkeys((b"relayok", b"helook", b"senderok", b"recipok"), b"ok 1\n")
    mux.answers[b"scan"] = scan_giving(b"HX-A b\nF\n")
    assert play("-q", "-r", "-H", "-s", "-t").to_end() == milter.CONTINUE
    assert caplog.messages == []


def test_only_the_first_recipients_are_named(play: MakePlay, mux: FakeMux, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    mux.answers[b"scan"] = scan_giving(b"D\n")
    session = play("-q")
    session.to_mail()
    for number in range(7):
        session.rcpt(b"<r%d@example.org>" % number)
    session.eom()
    assert "to=<r0@example.org>, <r1@example.org>, <r2@example.org>, ... 4 more, relay=" in caplog.text


@pytest.mark.parametrize(
    ("word", "line"),
    [
        (b"relayok", "NOQUEUE: connection {}, relay=client.example.com [192.0.2.7]"),
        (b"helook", "NOQUEUE: HELO {}, helo=helo.example.com, relay=client.example.com [192.0.2.7]"),
        (b"senderok", "Q1: sender {}, from=<sender@example.com>, relay=client.example.com [192.0.2.7]"),
        (
            b"recipok",
            "Q1: recipient {}, from=<sender@example.com>, to=<r1@example.org>, relay=client.example.com [192.0.2.7]",
        ),
    ],
)
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"ok 0 not%20you 550 5.1.1 0\n", "rejected: 550 5.1.1 not you"),
        (b"ok -1\n", "deferred: 451 4.3.0"),
        (b"ok 3\n", "discarded"),
        (b"ok 2\n", None),
    ],
)
def test_a_check_that_lets_nothing_pass_is_told_in_one_line(
    play: MakePlay,
    mux: FakeMux,
    caplog: pytest.LogCaptureFixture,
    *,
    word: bytes,
    line: str,
    answer: bytes,
    told: str | None,
) -> None:
    caplog.set_level(logging.INFO)
    mux.answers |= dict.fromkeys((b"relayok", b"helook", b"senderok", b"recipok"), b"ok 1\n")
    mux.answers[word] = answer
    session = play("-q", "-r", "-H", "-s", "-t")
    for step in (session.connect, session.helo, session.mail, session.rcpt):
        if step() != milter.CONTINUE:
            break
    assert caplog.messages == ([] if told is None else [line.format(told)])


def test_a_client_without_a_name_is_told_by_its_address(
    play: MakePlay, mux: FakeMux, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    mux.answers[b"relayok"] = b"ok 0 no 550 5.7.1 0\n"
    session = play("-q", "-r")
    session.callbacks.connect(session.context, "[192.0.2.7]", 2, ("192.0.2.7", 5))
    assert caplog.messages == ["NOQUEUE: connection rejected: 550 5.7.1 no, relay=[192.0.2.7]"]


FAILING_SCANS: dict[str, Answerer] = {
    "no-answer": b"",
    "error": b"error: No free workers\n",
    "no-results": b"ok\n",
    "empty-results": scan_giving(b""),
    "no-end": scan_giving(b"HX-A v\n"),
    "half-a-line": scan_giving(b"HX-A v\nHX-"),
    "too-large": scan_giving(b"HX-A v\n" * 10_000 + b"F\n"),
    "line-too-long": scan_giving(b"HX-A " + b"v" * 16_400 + b"\nF\n"),
    "no-new-body": scan_giving(b"HX-A v\nC\nF\n"),
}


@pytest.mark.parametrize("scan", FAILING_SCANS.values(), ids=FAILING_SCANS)
@pytest.mark.parametrize("keep", [False, True])
def test_a_failed_scan_changes_nothing_and_is_tried_again(
    play: MakePlay, mux: FakeMux, caplog: pytest.LogCaptureFixture, scan: Answerer, *, keep: bool
) -> None:
    mux.answers[b"scan"] = scan
    session = play("-q", *(["-k"] if keep else []))
    assert session.to_end() == milter.TEMPFAIL
    assert session.context.calls == [FAULT]
    assert bool(session.directories()) is keep
    errors = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith("Q1: eom: ")
    assert [line for line in caplog.messages if "kept" in line] == (
        [f"Q1: filtering failed, working directory kept: {session.directories()[0]}"] if keep else []
    )


def test_a_change_that_the_mta_lacks_is_tried_again(
    play: MakePlay, mux: FakeMux, caplog: pytest.LogCaptureFixture
) -> None:
    mux.answers[b"scan"] = scan_giving(b"Qso%20bad\nF\n")
    session = play("-q")
    session.context.refused.add("quarantine")
    assert session.to_end() == milter.TEMPFAIL
    assert session.directories() == []
    assert caplog.messages == ["Q1: eom: cannot quarantine: Qso%20bad"]


def test_all_directories_are_kept_if_so_set(play: MakePlay, spool: Path) -> None:
    session = play("-q", "-d")
    assert session.to_end() == milter.CONTINUE
    assert len(session.directories()) == 1


def test_a_mark_in_the_spool_keeps_directories_from_then_on(play: MakePlay, spool: Path) -> None:
    session = play("-q")
    session.to_mail()
    (spool / KEEP_MARK).touch()
    session.close()
    assert len(session.directories()) == 1


def test_the_filters_time_is_logged_whole(
    play: MakePlay, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the question to the multiplexor, which takes two looks at the clock.
    clock = iter([100.0, 100.0, 100.1, 100.1, 100.1, 100.1, 102.5])
    caplog.set_level(logging.INFO)
    session = play("-q", "-T")
    session.to_mail()
    session.eoh()
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    session.eom()
    assert "Q1: Filter time is 2500ms" in caplog.messages


def test_the_mta_hears_of_progress_while_a_scan_runs(play: MakePlay, mux: FakeMux) -> None:
    mux.delay_s = 0.2
    session = play("-q", "-X", progress_interval_s=0.05)
    assert session.to_end() == milter.CONTINUE
    assert session.context.calls
    assert set(session.context.calls) == {("progress",)}


def test_an_mta_that_is_gone_does_not_disturb_the_scan(play: MakePlay, mux: FakeMux) -> None:
    mux.delay_s = 0.2
    session = play("-q", "-X", progress_interval_s=0.05)
    session.context.refused.add("progress")
    assert session.to_end() == milter.CONTINUE


# -- ends


def test_an_aborted_message_leaves_nothing_and_the_next_begins_anew(play: MakePlay) -> None:
    session = play("-q")
    session.to_mail()
    session.rcpt()
    assert session.callbacks.abort(session.context) == milter.CONTINUE
    assert session.directories() == []
    assert not session.callbacks.in_work
    assert session.mail() == milter.CONTINUE
    assert session.close() == milter.CONTINUE
    assert session.directories() == []
    assert not session.callbacks.in_work


def test_a_new_mail_replaces_a_message_that_was_left(play: MakePlay) -> None:
    session = play("-q")
    session.to_mail()
    session.context.macros["i"] = b"Q2"
    assert session.mail() == milter.CONTINUE
    assert [path.name for path in session.directories()] == ["mdefang-Q2"]


def test_no_message_begins_while_stopping_but_those_in_work_go_on(play: MakePlay, mux: FakeMux) -> None:
    mux.answers[b"scan"] = scan_giving(b"F\n")
    session = play("-q")
    session.to_mail()
    session.callbacks.stopping = True
    session.eoh()
    assert session.eom() == milter.CONTINUE
    assert session.mail() == milter.TEMPFAIL
    assert "being stopped" in str(session.context.calls[-1])
    assert session.directories() == []


def test_a_message_is_in_work_until_its_directory_is_gone(
    play: MakePlay, monkeypatch: pytest.MonkeyPatch, spool: Path
) -> None:
    session = play("-q")
    found: list[int] = []
    real = (os.mkdir, WorkDir.remove)

    def make(path: str, mode: int) -> None:
        found.append(len(session.callbacks.in_work))
        real[0](path, mode)

    def remove(workdir: WorkDir) -> None:
        real[1](workdir)
        found.append(len(session.callbacks.in_work))

    monkeypatch.setattr(os, "mkdir", make)
    monkeypatch.setattr(WorkDir, "remove", remove)
    session.to_mail()
    session.close()
    assert found == [1, 1]
    assert session.callbacks.in_work == set()


def test_a_message_that_does_not_begin_is_not_in_work(play: MakePlay) -> None:
    session = play("-q")
    session.to_mail()
    session.context.macros["i"] = b"no/name"
    assert session.mail() == milter.TEMPFAIL
    assert session.callbacks.in_work == set()


def test_what_is_still_in_work_at_the_end_is_given_up_with_a_word(
    play: MakePlay, caplog: pytest.LogCaptureFixture
) -> None:
    session = play("-q")
    session.to_mail()
    session.callbacks.end_all()
    assert session.directories() == []
    assert "Q1: stopped: the message was still in work" in caplog.messages


# -- faults


@pytest.mark.parametrize("where", ["eoh", "body"])
def test_a_fault_in_header_or_body_is_answered_at_the_next_chance(
    play: MakePlay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    session = play("-q")
    session.to_mail()
    with monkeypatch.context() as patched:
        if where == "eoh":
            patched.setattr("defang_milter.workdir.WorkDir.write_header", fail)
        session.eoh()
        patched.setattr("defang_milter.workdir.WorkDir.append_input", fail)
        assert session.body(b"x") == milter.NOREPLY
    assert session.body(b"y") == milter.NOREPLY
    assert session.eom() == milter.TEMPFAIL
    assert session.context.calls == [FAULT]
    assert session.directories() == []
    assert caplog.messages == [f"Q1: {where}: No space left on device"]


def test_a_mistake_of_ours_is_a_temporary_failure_with_its_traceback(
    play: MakePlay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = play("-q")
    session.to_mail()
    monkeypatch.setattr("defang_milter.workdir.WorkDir.write_header", None)
    session.eoh()
    assert session.eom() == milter.TEMPFAIL
    assert caplog.records[-1].exc_info is not None
    assert caplog.messages[-1].startswith("Q1: eoh: ")


def test_a_failure_while_failing_is_still_a_temporary_failure(play: MakePlay, monkeypatch: pytest.MonkeyPatch) -> None:
    session = play("-q")
    session.context.refused.add("setreply")
    assert session.mail() == milter.TEMPFAIL


def test_a_header_that_was_not_seen_fails_its_message_only(play: MakePlay, caplog: pytest.LogCaptureFixture) -> None:
    session = play("-q")
    session.to_mail()
    _undecodable(session, b"X-\xff")
    assert session.header("Subject", b"x") == milter.NOREPLY
    session.eoh()
    assert session.eom() == milter.TEMPFAIL
    assert session.directories() == []
    assert len(caplog.messages) == 1
    assert "Q1: header: " in caplog.messages[0]
    assert session.mail() == milter.CONTINUE
    assert session.eoh() == milter.CONTINUE
    assert session.eom() == milter.CONTINUE


def test_a_helo_that_is_not_utf_8_is_kept_byte_for_byte(play: MakePlay, mux: FakeMux) -> None:
    files: dict[str, bytes] = {}
    _keep_files(mux, files)
    session = play("-q")
    session.connect()
    _undecodable(session, b"hel\xe9")
    session.mail()
    session.eom()
    assert commands.decode(files["COMMANDS"]).helo == b"hel\xe9"


@pytest.mark.parametrize(("answer", "status"), [(b"ok 0\n", milter.REJECT), (b"ok 1\n", milter.CONTINUE)])
def test_a_helo_that_is_not_utf_8_is_checked_at_mail(play: MakePlay, mux: FakeMux, answer: bytes, status: int) -> None:
    mux.answers[b"helook"] = answer
    session = play("-q", "-H")
    session.connect()
    _undecodable(session, b"hel\xe9")
    assert session.mail() == status
    assert session.mail() == status
    assert mux.requests[0].split()[3] == b"hel%E9"
    assert len(mux.requests) == (2 if status == milter.REJECT else 1)


def test_other_errors_before_a_callback_fail_the_connection(play: MakePlay) -> None:
    session = play("-q")
    session.connect()
    session.callbacks.excepthook(MemoryError, MemoryError("no memory"), None)
    assert session.mail() == milter.TEMPFAIL


def test_errors_elsewhere_are_left_to_python(play: MakePlay, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "__excepthook__", lambda *args: seen.append(args))
    play("-q").callbacks.excepthook(ValueError, ValueError("x"), None)
    assert len(seen) == 1
