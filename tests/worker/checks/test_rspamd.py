# SPDX-License-Identifier: GPL-3.0-or-later
"""rspamd by a service that plays it, well or badly: what it is told, what its answers mean, and what is done then."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import Outcome, Rspamd, RspamdResult, Symbol
from defang_worker.checks.budget import Deadline
from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.spam import rspamd_answer
from tests.support.fake_spam_services import ANSWER, FakeRspamd
from tests.support.scripted_service import Handler, ScriptedService

PLAIN = b"From: a@example.com\nSubject: x\nX-Old: 1\nX-Old: 2\nX-Old: 3\n\nHello\n"
ENVELOPE = (
    b"S<alice@example.com>\n=j mail.example.org\n=auth_authen joe\n=tls_version TLSv1.3\n=cipher AES\nQQ1\n"
    b"Hclient.example.com\nI192.0.2.7\nEhelo.example.com\nR<bob@example.org> ? ? ?\nR<carol@example.org> ? ? ?\nF\n"
)


def message(raw: bytes = PLAIN, envelope: bytes = ENVELOPE) -> Message:
    return Message(commands.decode(envelope), raw, "/nowhere", Settings())


def scan(check: Rspamd, raw: bytes = PLAIN) -> RspamdResult:
    return message(raw).run_checks(check)[check]


@contextmanager
def rspamd(
    handler: Handler, spool: Path, *, tcp: bool = False, **options: Any
) -> Iterator[tuple[ScriptedService, Rspamd]]:
    with ScriptedService(handler, None if tcp else spool / "rspamd.sock") as service:
        yield service, Rspamd(service.address, **{"timeout_s": 10.0, **options})


def answered(**more: object) -> RspamdResult:
    return rspamd_answer.read("rspamd", json.dumps({**ANSWER, **more}).encode())


@pytest.mark.parametrize("tcp", [False, True])
def test_rspamd_is_told_all_of_the_envelope(spool: Path, tcp: bool) -> None:
    fake = FakeRspamd()
    with rspamd(fake, spool, tcp=tcp, fields={"Settings-ID": "out"}) as (_, check):
        scan(check)
    ((lines, body),) = fake.requests
    assert lines[0] == b"POST /checkv2 HTTP/1.1"
    assert body == PLAIN
    assert lines[1:] == [
        b"Host: " + (b"127.0.0.1" if tcp else b"localhost"),
        b"Connection: close",
        b"Content-Length: %d" % len(PLAIN),
        b"IP: 192.0.2.7",
        b"Hostname: client.example.com",
        b"Helo: helo.example.com",
        b"From: <alice@example.com>",
        b"Rcpt: <bob@example.org>",
        b"Rcpt: <carol@example.org>",
        b"Queue-Id: Q1",
        b"User: joe",
        b"TLS-Version: TLSv1.3",
        b"TLS-Cipher: AES",
        b"MTA-Name: mail.example.org",
        b"Milter: Yes",
        b"Settings-ID: out",
    ]


def test_what_is_not_known_is_left_out_and_nothing_starts_another_field(spool: Path) -> None:
    fake = FakeRspamd()
    envelope = b"S<>\nI192.0.2.7\nEa%0D%0AUser: admin\nR<b@example.org> ? ? ?\nF\n"
    with rspamd(fake, spool) as (_, check):
        message(envelope=envelope).run_checks(check)
    assert fake.requests[0][0][4:] == [
        b"IP: 192.0.2.7",
        b"Helo: a User: admin",
        b"From: <>",
        b"Rcpt: <b@example.org>",
        b"Milter: Yes",
    ]


def test_postfix_name_of_the_daemon_goes_before_that_of_the_host(spool: Path) -> None:
    fake = FakeRspamd()
    with rspamd(fake, spool) as (_, check):
        message(envelope=ENVELOPE.replace(b"=j ", b"=daemon_name smtpd\n=j ")).run_checks(check)
    assert [line for line in fake.requests[0][0] if line.startswith(b"MTA-Name")] == [b"MTA-Name: smtpd"]


def test_message_is_shown_as_it_came_or_as_it_will_be_delivered(spool: Path) -> None:
    fake = FakeRspamd()
    with rspamd(fake, spool) as (service, check):
        one = message()
        one.headers.add("X-Ours", "added")
        one.run_checks(check)
        one.run_checks(Rspamd(service.address, name="after", as_delivered=True))
    assert [b"X-Ours" in body for _, body in fake.requests] == [False, True]


def test_result_has_score_symbols_and_a_report(spool: Path) -> None:
    with rspamd(FakeRspamd(), spool) as (_, check):
        result = scan(check)
    assert (result.outcome, result.score, result.required) == (Outcome.FOUND, 6.8, 15.0)
    assert (result.action, result.detail) == ("add header", "add header, 6.8 of 15.0")
    assert result.symbols == (Symbol("LARGE", 7.3), Symbol("SMALL", -0.5))
    assert result.report == "  7.30 LARGE\n -0.50 SMALL                    a little good"
    told = result.as_record()
    del told["elapsed_ms"]
    assert told == {
        "check": "rspamd",
        "outcome": "found",
        "detail": "add header, 6.8 of 15.0",
        "score": 6.8,
        "required": 15.0,
        "symbols": [["LARGE", 7.3], ["SMALL", -0.5]],
        "action": "add header",
    }


@pytest.mark.parametrize(
    ("action", "score", "is_skipped", "outcome"),
    [
        ("no action", 1.0, False, Outcome.NOT_FOUND),
        ("greylist", 5.0, False, Outcome.NOT_FOUND),
        ("soft reject", 5.0, False, Outcome.NOT_FOUND),
        ("rewrite subject", 7.0, False, Outcome.FOUND),
        ("reject", 20.0, False, Outcome.FOUND),
        ("our own", 20.0, False, Outcome.FOUND),
        ("our own", 1.0, False, Outcome.NOT_FOUND),
        ("no action", 0.0, True, Outcome.NOT_APPLICABLE),
        ("reject", 15.0, True, Outcome.FOUND),  # GTUBE
    ],
)
def test_action_says_whether_it_is_spam(action: str, score: float, is_skipped: bool, outcome: Outcome) -> None:
    assert answered(action=action, score=score, is_skipped=is_skipped).outcome is outcome


def test_message_over_the_limit_is_not_applicable_and_nobody_is_asked(spool: Path) -> None:
    with rspamd(FakeRspamd(), spool, max_bytes=len(PLAIN)) as (service, check):
        assert scan(check).is_found
        assert scan(check, PLAIN + b"!").outcome is Outcome.NOT_APPLICABLE
        assert service.connections == 1


# What is done then


def applied(**more: object) -> Message:
    one = message()
    answered(**more).apply(one)
    return one


def fields(one: Message, name: str) -> list[str]:
    return one.headers.all(name)


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ({"action": "no action"}, None),
        ({"action": "greylist"}, None),
        ({"action": "our own"}, None),
        ({"action": "quarantine"}, None),
        ({"action": "reject"}, "554 5.7.1 Spam message rejected"),
        ({"action": "reject", "messages": {"smtp_message": "Go away"}}, "554 5.7.1 Go away"),
        ({"action": "soft reject"}, "451 4.7.1 Try again later"),
        ({"action": "soft reject", "messages": {"smtp_message": "Greylisted"}}, "451 4.7.1 Greylisted"),
        ({"action": "discard"}, "discard"),
        ({"action": "reject", "milter": {"reject": "discard"}}, "discard"),
        ({"action": "reject", "milter": {"reject": "quarantine"}}, None),
        ({"action": "reject", "milter": {"no_action": True}}, None),
    ],
)
def test_action_becomes_the_verdict(more: dict[str, Any], verdict: str | None) -> None:
    found = applied(**more).verdict
    shown = None if found is None else f"{found.code} {found.dsn} {found.reply}" if found.reply else "discard"
    assert shown == verdict


def test_quarantine_is_the_mail_servers() -> None:
    assert applied(action="quarantine").is_quarantined
    assert applied(action="reject", milter={"reject": "quarantine"}).is_quarantined


def test_action_that_is_advice_only_is_told_in_the_header() -> None:
    one = applied(action="reject", milter={"no_action": True})
    assert fields(one, "X-Rspamd-Action") == ["reject"]


def test_subject_is_rewritten() -> None:
    assert applied(action="rewrite subject", subject="[SPAM] x").subject == "[SPAM] x"
    assert applied(action="add header", subject="[SPAM] x").subject == "x"


def test_spam_is_marked_and_the_senders_own_marks_go() -> None:
    one = message(b"X-Spam: No\nX-Other: No\n" + PLAIN)
    answered().apply(one)
    assert fields(one, "X-Spam") == ["Yes"]
    one = message(b"X-Spam: No\nX-Other: No\n" + PLAIN)
    answered(milter={"spam_header": {"X-Other": "Very"}}).apply(one)
    assert (fields(one, "X-Spam"), fields(one, "X-Other")) == (["No"], ["Very"])
    assert fields(applied(milter={"spam_header": "Quite"}), "X-Spam") == ["Quite"]


@pytest.mark.parametrize(
    ("removed", "left"),
    [
        ({"x-old": 0}, []),
        ({"X-Old": 1}, ["2", "3"]),
        ({"X-Old": 3}, ["1", "2"]),
        ({"X-Old": -1}, ["1", "2"]),
        ({"X-Old": -3}, ["2", "3"]),
        ({"X-Old": -4, "X-None": 0}, ["1", "2", "3"]),
        ({"X-Old": 4}, ["1", "2", "3"]),
        ({"X-Old": True}, ["1", "2", "3"]),
        (["X-Old"], ["1", "2", "3"]),
    ],
)
def test_fields_are_removed(removed: object, left: list[str]) -> None:
    assert fields(applied(milter={"remove_headers": removed}), "X-Old") == left


def test_fields_are_added_where_they_are_wanted() -> None:
    added = {
        "X-End": "a",
        "X-Top": {"value": "b", "order": 0},
        "X-Last": {"value": "c", "index": -1},
        "X-Two": ["d", {"value": "e", "order": 1}, 7],
        "X-Bad": 5,
    }
    one = applied(action="no action", milter={"add_headers": added})
    names = [name for name, _ in one.headers]
    assert names[:3] == ["X-Top", "X-Two", "From"]
    assert names[-3:] == ["X-End", "X-Last", "X-Two"]
    assert (fields(one, "X-Two"), "X-Bad" in names) == (["e", "d"], False)


def test_signatures_stand_on_top() -> None:
    one = applied(action="no action", **{"dkim-signature": ["v=1;\n b=x", "v=1; b=y"]})
    assert [name for name, _ in one.headers][:3] == ["DKIM-Signature", "DKIM-Signature", "From"]
    assert fields(applied(**{"dkim-signature": "v=1; b=x"}), "DKIM-Signature") == ["v=1; b=x"]


def test_envelope_is_changed() -> None:
    block = {"change_from": "new@example.com", "add_rcpt": ["d@example.org", 1], "del_rcpt": ["bob@example.org"]}
    one = applied(action="no action", milter=block)
    assert [type(change).__name__ for change in one.journal.results([])] == [
        "ChangeSender",
        "AddRecipient",
        "DeleteRecipient",
    ]


def test_result_that_tells_nothing_does_nothing() -> None:
    one = message()
    Rspamd().unknown("down").apply(one)
    assert (one.verdict, one.headers.changes()) == (None, [])


# Faults


def test_body_that_trickles_keeps_the_deadline(spool: Path) -> None:
    def slowly(connected: socket.socket) -> None:
        connected.recv(65536)
        connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        service.trickle(connected)

    with rspamd(slowly, spool) as (service, check):
        job = check.prepare(message())
        assert callable(job)
        with pytest.raises(ServiceFault, match=service.address):
            job(Deadline.after(0.2))


def test_refusal_is_read_though_the_message_was_not(spool: Path) -> None:
    def refuse(connected: socket.socket) -> None:
        connected.recv(100)
        connected.sendall(FakeRspamd(b'{"error": "too large"}', status=b"413 Too large").answer)

    with rspamd(refuse, spool) as (_, check):
        result = scan(check, PLAIN + b"x\n" * 4_000_000)
    assert result.is_unknown
    assert "413" in result.detail or "reset" in result.detail


@pytest.mark.parametrize(
    "answer",
    [
        FakeRspamd(b""),
        FakeRspamd(b"{"),
        FakeRspamd(b"[]"),
        FakeRspamd(b"[" * 100_000),
        FakeRspamd(b'{"error": "no memory"}'),
        FakeRspamd(b'{"score": 1.0}'),
        FakeRspamd(score=True),
        FakeRspamd(score=math.nan),
        FakeRspamd(action=None),
        FakeRspamd(b"x" * (4 * 1024 * 1024 + 1)),
        FakeRspamd(status=b"500 Oops"),
        FakeRspamd(status=b"nonsense"),
    ],
)
def test_answer_that_is_none_cannot_be_told_and_is_the_services_fault(spool: Path, answer: FakeRspamd) -> None:
    with rspamd(answer, spool) as (_, check):
        for _ in range(3):
            result = scan(check)
            assert (result.outcome, result.score) == (Outcome.UNKNOWN, None)
        assert check.circuits[0].is_open


def test_answer_that_breaks_off_cannot_be_told(spool: Path) -> None:
    fake = FakeRspamd()
    fake.answer = fake.answer[:-1]
    with rspamd(fake, spool) as (_, check):
        assert scan(check).is_unknown


def test_next_address_is_asked_if_one_is_refused(spool: Path) -> None:
    with ScriptedService(FakeRspamd(), spool / "rspamd.sock") as service:
        assert scan(Rspamd([str(spool / "nobody"), service.address])).is_found


LEAVES = st.none() | st.booleans() | st.floats() | st.integers(-3, 3) | st.sampled_from(["reject", "x", ""])


def _containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["value", "order", "X-A"]), inner, max_size=3)


JSON = LEAVES | _containers(LEAVES | _containers(LEAVES))
KEYS = ("score", "required_score", "action", "symbols", "messages", "subject", "is_skipped", "dkim-signature")
BLOCK_KEYS = ("add_headers", "remove_headers", "change_from", "add_rcpt", "del_rcpt", "reject", "spam_header")


@given(
    st.dictionaries(st.sampled_from(KEYS), JSON),
    st.dictionaries(st.sampled_from(BLOCK_KEYS), JSON) | JSON,
    st.booleans(),
)
def test_any_json_is_a_result_that_can_be_applied_or_a_fault(top: object, block: object, is_complete: bool) -> None:
    start = {"score": 1.0, "action": "reject"} if is_complete else {}
    body = json.dumps({**start, **top, "milter": block}).encode()  # type: ignore[dict-item]  # a dictionary
    try:
        result = rspamd_answer.read("rspamd", body)
    except ServiceFault:
        return
    with suppress(ValueError):  # a field that no header can have is refused there
        result.apply(message())


@given(st.binary(max_size=100))
def test_any_bytes_are_a_result_or_a_fault(body: bytes) -> None:
    with suppress(ServiceFault):
        rspamd_answer.read("rspamd", body)


def test_version_is_told(spool: Path) -> None:
    with rspamd(FakeRspamd(b"pong\r\n"), spool) as (service, check):
        (feature,) = check.features(Deadline.after(10))
        assert (feature.kind, feature.address) == ("Rspamd", service.address)
        assert (feature.is_reachable, feature.version) == (True, "rspamd/3.4")
        service.handler = FakeRspamd(b"pang")
        assert check.features(Deadline.after(10))[0].is_reachable is False


@pytest.mark.parametrize("arguments", [{"addresses": "localhost"}, {"addresses": []}, {"max_bytes": 0}])
def test_argument_that_makes_no_sense_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"address|max_bytes"):
        Rspamd(**arguments)
