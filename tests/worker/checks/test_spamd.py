# SPDX-License-Identifier: GPL-3.0-or-later
"""spamd by a service that plays it, well or badly: what it is shown, what its answers mean, and what its faults do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import Lesson, Outcome, Spamd, SpamdLearn, SpamResult, Symbol
from defang_worker.checks.budget import Deadline
from defang_worker.checks.faults import ServiceFault
from tests.support.certificate import CERTIFICATE, KEY
from tests.support.fake_spam_services import FakeSpamd
from tests.support.scripted_service import Handler, ScriptedService

PLAIN = b"From: a@example.com\nSubject: x\n\nHello\n"
ENVELOPE = (
    b"S<alice@example.com>\n=j mail.example.org\nQQ1\nHclient.example.com\nI192.0.2.7\nEhelo.example.com\n"
    b"R<bob@example.org> ? ? ?\nR<carol@example.org> ? ? ?\nF\n"
)
REPORT = """Content preview:  Cheap things
   -- 1 LOOKALIKE_OF_THE_SENDER that is no row
---- ---------------------- --------------------------------------------------
 9.9 OF_THE_SENDER          as the message would have it

Content analysis details:   (6.8 points, 5.0 required)

 pts rule name              description
---- ---------------------- --------------------------------------------------
 7.5 BAYES_99               BODY: Bayes spam probability is 99 to 100%
                            [score: 1.0000]
-0.7 RCVD_IN_DNSWL_Low      RBL: Sender is listed
1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email
"""


def message(raw: bytes = PLAIN, envelope: bytes = ENVELOPE) -> Message:
    return Message(commands.decode(envelope), raw, "/nowhere", Settings())


def scan(check: Spamd, raw: bytes = PLAIN) -> SpamResult:
    return message(raw).run_checks(check)[check]


@contextmanager
def spamd(
    handler: Handler, spool: Path, *, tcp: bool = False, **options: Any
) -> Iterator[tuple[ScriptedService, Spamd]]:
    with ScriptedService(handler, None if tcp else spool / "spamd.sock") as service:
        yield service, Spamd(service.address, **{"timeout_s": 10.0, **options})


@pytest.mark.parametrize("tcp", [False, True])
def test_message_is_shown_with_the_fields_of_this_hop(spool: Path, tcp: bool) -> None:
    fake = FakeSpamd()
    with spamd(fake, spool, tcp=tcp, ask="check") as (service, check):
        result = scan(check)
    ((lines, body),) = fake.requests
    assert lines[0] == b"CHECK SPAMC/1.5"
    assert b"Content-length: %d" % len(body) in lines
    first, received, rest = body.partition(b"From: ")[0].split(b"\n", 1)[0], *body.split(b"\n", 1)[1].split(b"From: ")
    assert first == b"Return-Path: <alice@example.com>"
    assert received.startswith(b"Received: from helo.example.com (client.example.com [192.0.2.7])\n\tby ")
    assert b"\tfor " not in received  # none of several recipients is told of the others
    assert b"From: " + rest == PLAIN
    assert (result.outcome, result.score, result.required) == (Outcome.FOUND, 6.8, 5.0)
    assert service.connections == 1


def test_recipients_are_shown_if_wanted_and_control_characters_never(spool: Path) -> None:
    fake = FakeSpamd()
    with spamd(fake, spool, apparently_to=True) as (_, check):
        one = message(envelope=ENVELOPE.replace(b"S<alice", b"S<%0Aalice"))
        one.run_checks(check)
    body = fake.requests[0][1]
    assert body.startswith(b"Return-Path: <alice@example.com>\nReceived: ")
    assert b"\nApparently-To: <bob@example.org>, <carol@example.org>\nFrom: " in body


def test_message_is_shown_as_it_came_or_as_it_will_be_delivered(spool: Path) -> None:
    fake = FakeSpamd()
    with spamd(fake, spool) as (service, check):
        one = message()
        one.headers.add("X-Ours", "added")
        one.run_checks(check)
        one.run_checks(Spamd(service.address, name="after", as_delivered=True))
    assert [b"X-Ours" in body for _, body in fake.requests] == [False, True]


def test_last_line_has_an_end_for_spamd_reads_by_lines(spool: Path) -> None:
    fake = FakeSpamd()
    with spamd(fake, spool) as (_, check):
        scan(check, PLAIN.removesuffix(b"\n"))
    assert fake.requests[0][1].endswith(b"\n\nHello\n")


def test_user_is_a_name_or_depends_on_the_message(spool: Path) -> None:
    fake = FakeSpamd()
    with ScriptedService(fake, spool / "spamd.sock") as service:
        scan(Spamd(service.address, user="bob"))
        scan(Spamd(service.address, user=lambda one: one.envelope.recipients[1].address.local_part))
        odd = scan(Spamd(service.address, user=lambda one: "a\r\nSet: local"))
        assert (odd.is_unknown, odd.detail) == (True, "no user of spamd's can be called 'a\\r\\nSet: local'")
    assert [b"User: bob" in fake.requests[0][0], b"User: carol" in fake.requests[1][0]] == [True, True]


def test_symbols_are_names(spool: Path) -> None:
    with spamd(FakeSpamd(body=b"BAYES_99,GTUBE\r\n"), spool, ask="symbols") as (_, check):
        result = scan(check)
    assert result.symbols == (Symbol("BAYES_99"), Symbol("GTUBE"))
    assert (result.names, result.report, result.detail) == ("BAYES_99,GTUBE", "", "6.8 of 5.0: BAYES_99,GTUBE")


def test_report_has_the_symbols_with_their_scores_in_its_own_table_only(spool: Path) -> None:
    with spamd(FakeSpamd(body=REPORT.encode()), spool) as (_, check):
        result = scan(check)
    assert result.symbols == (Symbol("BAYES_99", 7.5), Symbol("RCVD_IN_DNSWL_Low", -0.7), Symbol("GTUBE", 1000.0))
    assert result.report == REPORT.strip()
    told = result.as_record()
    assert told["symbols"] == [list(symbol) for symbol in result.symbols]
    assert "report" not in told


def test_report_without_a_table_has_no_symbols(spool: Path) -> None:
    with spamd(FakeSpamd(body=b"It is spam\n 1.0 NO_ROW of a table\n"), spool) as (_, check):
        assert scan(check).symbols == ()


def test_ham_is_not_found(spool: Path) -> None:
    with spamd(FakeSpamd(spam=b"False ; -1.2 / 5.0"), spool, ask="check") as (_, check):
        result = scan(check)
    assert (result.outcome, result.score, result.detail) == (Outcome.NOT_FOUND, -1.2, "-1.2 of 5.0")


def test_message_over_the_limit_is_not_applicable_and_nobody_is_asked(spool: Path) -> None:
    with spamd(FakeSpamd(), spool, max_bytes=len(PLAIN)) as (service, check):
        assert scan(check).is_found
        one = message(PLAIN + b"!")
        result = one.run_checks(check)[check]
        assert service.connections == 1
    assert (result.outcome, result.score) == (Outcome.NOT_APPLICABLE, None)
    assert one.verdict is None


# Faults


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SPAMD/1.1 0 EX_OK\r\n",
        b"SPAMD/1.1 0 EX_OK\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nSpam: perhaps ; 1.0 / 5.0\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; nan / 5.0\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; 6 / inf\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; 6\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 10\r\nSpam: True ; 6 / 5\r\n\r\nshort",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 1\r\nSpam: True ; 6 / 5\r\n\r\nlong",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: many\r\nSpam: True ; 6 / 5\r\n\r\nx",
        b"SPAMD/1.1 0 EX_OK\r\n\xff: x\r\nSpam: True ; 6 / 5\r\n\r\n",
        b"SPAMD/1.1 \xff EX_OK\r\n\r\n",
        b"SPAMD/1.1 zero EX_OK\r\n\r\n",
        b"SPAMD/1.0 76 Bad header line: nonsense\r\n",
        b"SPAMD/1.0 75 EX_TEMPFAIL\r\n\r\n",
        b"SPAMD/1.0 99 EX_NEW\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_answer_that_is_none_cannot_be_told_and_is_the_services_fault(spool: Path, answer: bytes) -> None:
    with spamd(FakeSpamd(answer), spool, ask="check") as (_, check):
        for _ in range(3):
            result = scan(check)
            assert (result.outcome, result.score) == (Outcome.UNKNOWN, None)
        assert check.circuits[0].is_open


def test_spamds_own_timeout_is_no_fault_of_the_service(spool: Path) -> None:
    with spamd(FakeSpamd(b"SPAMD/1.0 79 Timeout: (30 second timeout while trying to CHECK)\r\n"), spool) as (_, check):
        for _ in range(4):
            result = scan(check)
            assert result.detail.startswith("spamd refused with 79: Timeout")
        assert not check.circuits[0].is_open


def test_next_address_is_asked_if_one_is_refused(spool: Path) -> None:
    with ScriptedService(FakeSpamd(), spool / "spamd.sock") as service:
        assert scan(Spamd([str(spool / "nobody"), service.address])).is_found


# Learning


@pytest.mark.parametrize(
    ("lesson", "share", "fields"),
    [
        ("spam", False, {b"Message-class: spam", b"Set: local"}),
        ("ham", False, {b"Message-class: ham", b"Set: local"}),
        ("forget", False, {b"Remove: local"}),
        ("spam", True, {b"Message-class: spam", b"Set: local, remote"}),
        ("ham", True, {b"Message-class: ham", b"Set: local", b"Remove: remote"}),
    ],
)
def test_lesson_is_told(spool: Path, lesson: str, share: bool, fields: set[bytes]) -> None:
    fake = FakeSpamd(b"SPAMD/1.1 0 EX_OK\r\nDidSet: local\r\n\r\n\r\n")
    with ScriptedService(fake, spool / "spamd.sock") as service:
        learn = SpamdLearn(lesson, service.address, share=share, user="bob")
        result = message().run_checks(learn)[learn]
    ((lines, body),) = fake.requests
    assert lines[0] == b"TELL SPAMC/1.5"
    assert {line for line in lines[1:] if not line.startswith(b"Content-length:")} == fields | {b"User: bob"}
    assert body.startswith(b"Return-Path: ")
    assert (result.outcome, result.detail) == (Outcome.FOUND, f"{lesson}: local")


def test_lesson_that_is_known_is_not_found_and_one_that_fails_does_not_defer(spool: Path) -> None:
    with ScriptedService(FakeSpamd(b"SPAMD/1.1 0 EX_OK\r\n\r\n\r\n"), spool / "spamd.sock") as service:
        learn = SpamdLearn(Lesson.SPAM, service.address)
        assert message().run_checks(learn)[learn].outcome is Outcome.NOT_FOUND
        service.handler = FakeSpamd(b"SPAMD/1.0 69 TELL commands have not been enabled.\r\n")
        one = message()
        assert one.run_checks(learn)[learn].is_unknown
        assert one.verdict is None


# What is given to them


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"addresses": "localhost"}, "address"),
        ({"addresses": []}, "address"),
        ({"addresses": "/run/spamd.sock", "tls": True}, "TLS"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"user": "Zoë"}, "user"),
        ({"ask": "process"}, "ask is"),
    ],
)
def test_argument_that_makes_no_sense_is_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Spamd(**arguments)


def test_version_is_that_of_the_protocol(spool: Path) -> None:
    with spamd(FakeSpamd(), spool) as (service, check):
        (feature,) = check.features(Deadline.after(10))
        assert (feature.kind, feature.address, feature.is_reachable) == ("Spamd", service.address, True)
        assert feature.version == "SPAMD/1.5"
        service.handler = ScriptedService.talk_garbage
        assert check.features(Deadline.after(0.2))[0].is_reachable is False


def _with_tls(handler: Handler) -> Handler:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)

    def serve(connected: socket.socket) -> None:
        with context.wrap_socket(connected, server_side=True) as secured:
            handler(secured)

    return serve


def test_tls_is_spoken_with_who_has_the_wanted_certificate_only() -> None:
    fake = FakeSpamd(body=REPORT.encode())
    with ScriptedService(_with_tls(fake)) as service:
        trusted = ssl.create_default_context(cafile=str(CERTIFICATE))
        assert scan(Spamd(service.address, tls=trusted)).is_found
        result = scan(Spamd(service.address, tls=True))
        assert result.is_unknown
        assert "certificate verify failed" in result.detail
    assert len(fake.requests) == 1


@pytest.mark.parametrize("fault", ["hang", "trickle"])
def test_tls_keeps_the_deadline(fault: str) -> None:
    with ScriptedService(ScriptedService.close_early) as service:
        service.handler = getattr(service, fault)
        job = Spamd(service.address, tls=True).prepare(message())
        assert callable(job)
        with pytest.raises(ServiceFault, match=service.address):
            job(Deadline.after(0.2))
