# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls ahead to SMTP servers that do as they should, and to those that do not. tests/system calls a real one."""

from __future__ import annotations

import re
import socket
import ssl
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from defang_worker import Address, Recipient, Settings
from defang_worker.api.verdicts import CheckFailed
from defang_worker.checks import CallAhead, Outcome, Resolver
from defang_worker.checks.budget import Deadline
from defang_worker.checks.callahead import caller, dialogue
from defang_worker.checks.callahead.loop import MAX_DEPTH, mark
from tests.support.certificate import CERTIFICATE
from tests.support.dns_server import DnsServer
from tests.support.fake_smtp import FakeSmtp
from tests.support.process import wait_until
from tests.support.scripted_service import Handler, ScriptedService
from tests.worker.checks.callahead.calls import asked, call_ahead
from tests.worker.checks.envelopes import OWN_NAME, envelope

RCPT = "RCPT TO:<bob@example.org>"
TRUSTED = ssl.create_default_context(cafile=str(CERTIFICATE))


def told(replies: dict[str, str], **options: Any) -> Any:
    """What comes of a call to a server with these replies."""
    with ScriptedService(FakeSmtp(replies=replies)) as service:
        return asked(call_ahead(service.address, **options))


def test_server_is_asked_as_far_as_rcpt() -> None:
    fake = FakeSmtp()
    with ScriptedService(fake) as service:
        result = asked(call_ahead(service.address))
        assert service.connections == 1
    assert fake.commands == [
        f"EHLO {OWN_NAME}",
        f"MAIL FROM:<alice@example.com> {mark(1)}",
        RCPT,
        "QUIT",
    ]
    assert (result.outcome, result.code, result.dsn, result.command) == (Outcome.FOUND, 250, "2.1.0", "RCPT")
    assert (result.server, result.tls, result.is_remembered) == (service.address, "", False)
    assert result.detail == f"{service.address} to RCPT: 250 2.1.0 ok"


@pytest.mark.parametrize(
    ("reply", "outcome", "code", "dsn", "text"),
    [
        ("250 ok", Outcome.FOUND, 250, "", "ok"),
        ("251 User not local; will forward", Outcome.FOUND, 251, "", "User not local; will forward"),
        ("550 5.1.1 User unknown", Outcome.NOT_FOUND, 550, "5.1.1", "User unknown"),
        ("550 5.1.1 <bob@example.org>... User unknown", Outcome.NOT_FOUND, 550, "5.1.1", "User unknown"),
        ("550 User unknown", Outcome.NOT_FOUND, 550, "5.1.1", "User unknown"),
        ("551 Moved", Outcome.NOT_FOUND, 551, "5.1.6", "Moved"),
        ("552-5.2.2 Mailbox\r\n552 5.2.2 full", Outcome.NOT_FOUND, 552, "5.2.2", "Mailbox\nfull"),
        ("554 5.7.1 Relaying denied", Outcome.NOT_FOUND, 554, "5.7.1", "Relaying denied"),
        ("554 no", Outcome.NOT_FOUND, 554, "5.0.0", "no"),
        ("450 4.2.1 Greylisted", Outcome.UNKNOWN, 450, "4.2.1", "Greylisted"),
        ("452 too many", Outcome.UNKNOWN, 452, "", "too many"),
        ("503 5.5.1 Need MAIL", Outcome.UNKNOWN, 503, "5.5.1", "Need MAIL"),
        ("530 5.7.0 Must issue STARTTLS first", Outcome.UNKNOWN, 530, "5.7.0", "Must issue STARTTLS first"),
    ],
)
def test_reply_to_rcpt_decides(reply: str, outcome: Outcome, code: int, dsn: str, text: str) -> None:
    result = told({"RCPT": reply})
    assert (result.outcome, result.code, result.dsn, result.text) == (outcome, code, dsn, text)
    assert result.command == "RCPT"


@pytest.mark.parametrize("reply", ["550 5.7.1 No mail from you", "450 4.7.1 Not now", "501 5.1.7 Bad sender"])
def test_refused_sender_is_not_an_unknown_recipient(reply: str) -> None:
    result = told({"MAIL": reply})
    assert (result.outcome, result.command, result.code) == (Outcome.UNKNOWN, "MAIL", int(reply[:3]))


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ({"EHLO": "421 4.3.2 Shutting down"}, "421 4.3.2 Shutting down"),
        ({"MAIL": "421 4.3.2 Shutting down"}, "421 4.3.2 Shutting down"),
        ({"RCPT": "421 4.3.2 Shutting down"}, "421 4.3.2 Shutting down"),
        ({"EHLO": "450 no", "HELO": "250 ok"}, "replied to mx.example.org with 450 no"),
        ({"EHLO": "550 no", "HELO": "550 never"}, "replied to mx.example.org with 550 never"),
        ({"RCPT": "354 go on"}, "replied to RCPT with 354 go on"),
        ({"RCPT": "what?"}, "no SMTP reply: b'what?'"),
        ({"RCPT": "250 " + "x" * 100_000}, "answered with more than 4096 bytes"),
        ({"RCPT": "250-x\r\n" * 200 + "250 ok"}, "replied with more than 100 lines"),
        ({"EHLO": ""}, "closed the connection"),
        ({"MAIL": ""}, "closed the connection"),
        ({"RCPT": ""}, "closed the connection"),
        ({"MAIL": "250 ok\r\n250 ok"}, "talked out of turn"),
        ({"RCPT": "250 ok\r\n550 5.1.1 User unknown"}, "replied to QUIT with b'550 5.1.1 User unknown"),
    ],
)
def test_fault_of_the_server_cannot_be_told(replies: dict[str, str], why: str) -> None:
    result = told(replies)
    assert result.outcome is Outcome.UNKNOWN
    assert why in result.detail


@pytest.mark.parametrize("greeting", ["554 5.7.1 No service", "450 Busy", "421 Busy", "hello", "220-a\r\n221 b"])
def test_greeting_that_is_none_is_not_an_unknown_recipient(greeting: str) -> None:
    with ScriptedService(FakeSmtp(greeting=greeting)) as service:
        assert asked(call_ahead(service.address)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("last", ["", "250 good bye", "421 bye"])
def test_farewell_does_not_matter(last: str) -> None:
    assert told({"QUIT": last}).outcome is Outcome.FOUND
    assert told({"QUIT": last, "RCPT": "550 5.1.1 no"}).outcome is Outcome.NOT_FOUND


def test_server_that_says_no_farewell_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "_QUIT_WAIT_S", 0.01)

    def deaf_to_quit(connected: socket.socket) -> None:
        FakeSmtp(replies={"QUIT": "250-wait"})(connected)
        service.ending.wait()

    with ScriptedService(deaf_to_quit) as service:
        assert asked(call_ahead(service.address)).outcome is Outcome.FOUND


def test_server_of_old_is_greeted_by_helo_and_gets_no_parameters() -> None:
    fake = FakeSmtp(replies={"EHLO": "502 5.5.1 what?"})
    with ScriptedService(fake) as service:
        assert asked(call_ahead(service.address)).is_found
    assert fake.commands[:3] == [f"EHLO {OWN_NAME}", f"HELO {OWN_NAME}", "MAIL FROM:<alice@example.com>"]


@pytest.mark.parametrize("code", [501, 504, 555])
def test_server_that_does_not_know_the_mark_is_asked_without(code: int) -> None:
    plain = "MAIL FROM:<alice@example.com>"
    fake = FakeSmtp(replies={f"{plain} {mark(1)}": f"{code} 5.5.4 what?"})
    with ScriptedService(fake) as service:
        assert asked(call_ahead(service.address)).is_found
    assert fake.commands[1:] == [f"{plain} {mark(1)}", plain, RCPT, "QUIT"]


def test_sender_and_helo_are_as_the_filter_wants_them() -> None:
    fake = FakeSmtp(extensions=())
    with ScriptedService(fake) as service:
        asked(call_ahead(service.address, sender="<>", helo="probe.example.org"))
        asked(call_ahead(service.address, sender="postmaster@example.org"))
        asked(call_ahead(service.address, sender=lambda one: "x-" + one.sender.bare, helo=lambda one: one.helo))
        asked(call_ahead(service.address), envelope(sender="<>"))
    said = [line for line in fake.commands if line.startswith(("EHLO", "MAIL"))]
    assert said == [
        *("EHLO probe.example.org", "MAIL FROM:<>"),
        *(f"EHLO {OWN_NAME}", "MAIL FROM:<postmaster@example.org>"),
        *("EHLO helo.example.com", "MAIL FROM:<x-alice@example.com>"),
        *(f"EHLO {OWN_NAME}", "MAIL FROM:<>"),
    ]


def test_address_beyond_ascii_needs_a_server_that_takes_it() -> None:
    fake = FakeSmtp(extensions=("SMTPUTF8",))
    with ScriptedService(fake) as service:
        assert asked(call_ahead(service.address), envelope("<grün@example.org>")).is_found
        fake.extensions = ()
        result = asked(call_ahead(service.address), envelope("<grün@example.org>"))
    assert fake.commands[1:3] == ["MAIL FROM:<alice@example.com> SMTPUTF8", "RCPT TO:<grün@example.org>"]
    assert (result.outcome, "SMTPUTF8" in result.detail) == (Outcome.UNKNOWN, True)


@pytest.mark.parametrize(
    "options", [{"sender": "a@b>\r\nRSET"}, {"helo": "x\r\nQUIT"}, {"sender": lambda one: "a\0@b"}]
)
def test_no_line_can_be_smuggled_into_a_call(options: dict[str, Any]) -> None:
    fake = FakeSmtp()
    with ScriptedService(fake) as service:
        result = asked(call_ahead(service.address, **options))
    assert (result.outcome, service.connections) == (Outcome.UNKNOWN, 0)
    assert "a control character" in result.detail


def test_temporary_refusal_may_be_meant_for_good() -> None:
    result = told({"RCPT": "450 4.2.0 Recipient UNKNOWN here"}, permanent="recipient unknown|no such user")
    assert (result.outcome, result.code, result.dsn) == (Outcome.NOT_FOUND, 550, "5.1.1")
    assert told({"RCPT": "450 4.2.0 busy"}, permanent="recipient unknown").outcome is Outcome.UNKNOWN


def test_envelope_of_what_could_not_be_told_is_deferred() -> None:
    with (
        ScriptedService(FakeSmtp(replies={"RCPT": "450 later"})) as service,
        pytest.raises(CheckFailed, match=r"Could not be checked now \(call-ahead\)"),
    ):
        envelope().run_checks(call_ahead(service.address))


@pytest.mark.parametrize("fault", ["refused", "hanging", "slow", "closing early", "garbage"])
def test_policies_happen_whatever_the_fault(fault: str) -> None:
    def closes(connected: socket.socket) -> None:
        connected.sendall(b"220 mail")

    with ScriptedService(closes, is_up=fault != "refused") as service:
        if fault != "refused":
            handlers: dict[str, Handler] = {"hanging": service.hang, "slow": service.trickle, "closing early": closes}
            service.handler = handlers.get(fault, FakeSmtp(greeting="HTTP/1.1 200 OK"))
        timeout_s = 0.3 if fault in ("hanging", "slow") else 20.0
        subjects = {policy: envelope() for policy in ("tempfail", "mark", "ignore")}
        checks = {policy: call_ahead(service.address, on_failure=policy, timeout_s=timeout_s) for policy in subjects}
        with pytest.raises(CheckFailed, match=r"Could not be checked now \(call-ahead\)"):
            subjects["tempfail"].run_checks(checks["tempfail"])
        for policy in ("mark", "ignore"):
            assert subjects[policy].run_checks(checks[policy])[checks[policy]].outcome is Outcome.UNKNOWN
    marks = {policy: subject.journal.results([]) for policy, subject in subjects.items()}
    assert {policy: len(entries) for policy, entries in marks.items()} == {"tempfail": 0, "mark": 1, "ignore": 0}
    assert "X-Defang-Unchecked" in str(marks["mark"])


def test_next_hop_of_the_manual_is_as_sendmail_tells_it() -> None:
    page = (Path(__file__).parents[4] / "docs" / "checks.md").read_text()
    (source,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def next_hop" in block]
    names: dict[str, Any] = {}
    exec(source, names)  # our own page
    told = [
        names["next_hop"](Recipient(address=Address(f"<bob@{domain}>"), mailer=mailer, host=host))
        for domain, mailer, host in [
            ("example.org", "esmtp", "[192.0.2.1]"),
            ("EXAMPLE.org", "relay", "mail.example.org"),
            ("example.org", "local", ""),
            ("example.net", "esmtp", "example.net"),
        ]
    ]
    assert told == ["[192.0.2.1]", "mx:mail.example.org", "", ""]


@pytest.mark.parametrize("subject", [envelope(tested=False), object()])
def test_call_without_a_recipient_is_a_fault_of_the_filter(subject: Any) -> None:
    with pytest.raises(TypeError, match="call-ahead asks about a recipient: it is for filter_recipient"):
        asked(call_ahead("127.0.0.1:9"), subject)


def test_server_may_depend_on_the_recipient() -> None:
    fake = FakeSmtp()
    with ScriptedService(fake) as service:
        check = call_ahead(lambda recipient: {"relay": service.address, "odd": "a b"}.get(recipient.host, ""))
        local = asked(check, envelope())
        odd = asked(check, envelope(host="odd"))
        there = asked(check, envelope(host="relay"))
    assert (local.outcome, local.detail) == (Outcome.NOT_APPLICABLE, "no server to call")
    assert odd.is_unknown
    assert there.is_found


# whom to call


def test_mail_hosts_of_a_domain_are_called_in_their_order() -> None:
    with ExitStack() as stack:
        fakes = [FakeSmtp(replies={"RCPT": "550 5.1.1 first"}), FakeSmtp()]
        first = stack.enter_context(ScriptedService(fakes[0], host="127.0.0.1"))
        port = first.address.rpartition(":")[2]
        server = stack.enter_context(
            DnsServer("example.org MX 20 b.example\nexample.org MX 10 a.example\na.example A 127.0.0.1\n")
        )
        check = call_ahead(f"mx:example.org:{port}", resolver=Resolver(server.address))
        result = asked(check)
    assert result.text == "first"
    assert result.server == f"a.example (127.0.0.1:{port})"


def test_the_next_server_is_called_if_one_does_not_answer_and_the_first_again_when_it_does() -> None:
    fake = FakeSmtp()
    with ScriptedService(lambda connected: None) as first, ScriptedService(fake) as second:
        check = call_ahead([first.address, second.address])
        assert asked(check).server == second.address
        first.handler = FakeSmtp(replies={"RCPT": "550 5.1.1 no"})
        assert asked(check).server == first.address
        assert second.connections == 1


def test_answer_of_a_server_that_works_is_not_asked_for_elsewhere() -> None:
    for reply in ("550 5.1.1 no", "450 later"):
        with ScriptedService(FakeSmtp(replies={"RCPT": reply})) as first, ScriptedService(FakeSmtp()) as second:
            assert not asked(call_ahead([first.address, second.address])).is_found
            assert second.connections == 0


def test_server_that_is_down_is_left_alone_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedService(FakeSmtp()) as service:
        gone = service.address
    with ScriptedService(FakeSmtp()) as service:
        check = call_ahead(lambda recipient: gone if recipient.host == "gone" else service.address)
        assert "cannot connect" in asked(check, envelope(host="gone")).detail
        assert "not asked" in asked(check, envelope(host="gone")).detail
        assert asked(check, envelope()).is_found
    assert [line for line in caplog.messages if "is down" in line] == [
        f"check call-ahead: {gone}: is down, and tried again from time to time: cannot connect: Connection refused"
    ]


def test_servers_that_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "_MAX_KNOWN", 2)
    with ExitStack() as stack:
        services = [stack.enter_context(ScriptedService(FakeSmtp())) for _ in range(4)]
        check = call_ahead(lambda recipient: services[int(recipient.host)].address)
        assert all(asked(check, envelope(host=str(number))).is_found for number in (0, 1, 2, 3, 0))
        assert len(check.circuits) == 1 + 2


def test_server_is_called_by_ipv6() -> None:
    fake = FakeSmtp(replies={"RCPT": "550 5.1.1 no"})
    with ScriptedService(fake, host="::1") as service:
        result = asked(call_ahead(service.address))
    assert service.address.startswith("[::1]:")
    assert (result.outcome, result.server) == (Outcome.NOT_FOUND, service.address)


@pytest.mark.parametrize("servers", [(), "", [""], "a b", ["127.0.0.1", "mx:"]])
def test_check_without_a_server_is_refused(servers: Any) -> None:
    with pytest.raises(ValueError, match="server"):
        CallAhead(servers)


# TLS


@pytest.mark.parametrize(
    ("setting", "offered", "tls", "outcome"),
    [
        ("never", True, False, Outcome.FOUND),
        ("may", True, True, Outcome.FOUND),
        ("may", False, False, Outcome.FOUND),
        ("must", True, False, Outcome.UNKNOWN),  # a certificate that nobody has signed
        ("must", False, False, Outcome.UNKNOWN),
        (TRUSTED, True, True, Outcome.FOUND),
        (TRUSTED, False, False, Outcome.UNKNOWN),
    ],
)
def test_tls_is_as_it_is_set(setting: Any, offered: bool, tls: bool, outcome: Outcome) -> None:
    fake = FakeSmtp(tls=offered)
    with ScriptedService(fake) as service:
        result = asked(call_ahead(service.address, tls=setting))
    assert (result.outcome, result.tls.startswith("TLSv1.")) == (outcome, tls)
    assert any(line == "tls " + RCPT for line in fake.commands) == tls
    assert (f"tls EHLO {OWN_NAME}" in fake.commands) == tls
    assert not any(line == RCPT for line in fake.commands) or setting in ("never", "may")


def test_certificate_is_to_be_that_of_the_host_that_was_named() -> None:
    fake = FakeSmtp(tls=True)
    with ScriptedService(fake) as service:
        port = service.address.rpartition(":")[2]
        result = asked(call_ahead(f"localhost:{port}", tls=TRUSTED))
    assert (result.outcome, "no TLS: " in result.detail) == (Outcome.UNKNOWN, True)


FAILING = [
    {"STARTTLS": "220 go\r\n250 smuggled"},
    {"STARTTLS": "220-go\r\n250 no reply"},
    {"STARTTLS": ""},
    {"STARTTLS": "421 too busy"},
    {"tls": "garbage"},
    {"tls": "hang"},
]


class BadTls(FakeSmtp):
    """Offers TLS and then does not speak it."""

    how = ""

    def __call__(self, connected: socket.socket) -> None:
        self.replies = {"STARTTLS": "220 go"}
        super().__call__(connected)

    def _context(self) -> Any:  # type: ignore[override]
        class Broken:
            def wrap_socket(_, connected: socket.socket, **options: object) -> socket.socket:  # noqa: N805
                if self.how == "garbage":
                    connected.sendall(b"no TLS\r\n" * 100)
                while connected.recv(4096):
                    pass
                raise OSError

        return Broken()


@pytest.mark.parametrize("failing", FAILING, ids=lambda one: repr(*one.values()))
@pytest.mark.parametrize("setting", ["may", "must"])
def test_tls_that_fails_is_followed_by_a_call_in_clear_where_it_only_may_be(
    failing: dict[str, str], setting: str
) -> None:
    fake = FakeSmtp(tls=True, replies=failing)
    if how := failing.get("tls"):
        fake = BadTls(tls=True)
        fake.how = how
    with ScriptedService(fake) as service:
        # Of a handshake that hangs the half of this is waited.
        result = asked(call_ahead(service.address, tls=setting, timeout_s=3.0 if how == "hang" else 20.0))
        assert service.connections == (2 if setting == "may" else 1)
    assert result.outcome is (Outcome.FOUND if setting == "may" else Outcome.UNKNOWN)
    assert (fake.commands[-2:] == [RCPT, "QUIT"]) == (setting == "may")
    assert "STARTTLS failed" in result.detail or "no TLS" in result.detail


@pytest.mark.parametrize("setting", ["may", "must"])
def test_tls_that_is_refused_leaves_a_connection_that_may_be_used(setting: str) -> None:
    fake = FakeSmtp(tls=True, replies={"STARTTLS": "454 4.3.0 not now"})
    with ScriptedService(fake) as service:
        result = asked(call_ahead(service.address, tls=setting))
        assert service.connections == 1
    assert result.outcome is (Outcome.FOUND if setting == "may" else Outcome.UNKNOWN)
    assert "454 4.3.0 not now" in result.detail


@pytest.mark.parametrize("word", ["yes", "", True, 1])
def test_other_word_for_tls_is_refused(word: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid TlsUse"):
        CallAhead("127.0.0.1", tls=word)


# faults


@pytest.mark.parametrize("fault", ["hang", "trickle", "close_at_once", "garbage"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_misbehaving_server_cannot_be_told_within_its_time_and_the_next_is_unaffected(fault: str, host: str) -> None:
    with ScriptedService(FakeSmtp(), host=host) as service:
        handlers: dict[str, Handler] = {
            "hang": service.hang,
            "trickle": service.trickle,
            "close_at_once": lambda connected: None,
            "garbage": FakeSmtp(greeting="\udcff\udcfe\0HTTP/9.9 what?\0"),
        }
        service.handler = handlers[fault]
        assert asked(call_ahead(service.address, timeout_s=0.2)).outcome is Outcome.UNKNOWN
        service.handler = FakeSmtp()
        assert asked(call_ahead(service.address)).is_found


@pytest.mark.parametrize("verb", ["EHLO", "STARTTLS", "MAIL", "RCPT"])
def test_slow_dribble_at_any_step_is_bounded_by_the_whole_deadline(verb: str) -> None:
    def dribble(connected: socket.socket) -> None:
        fake = FakeSmtp(tls=verb == "STARTTLS", replies={verb: "250-"})
        fake(_Dribbling(connected, service))  # type: ignore[arg-type]  # what of a socket is used, it has

    with ScriptedService(dribble) as service:
        started = time.monotonic()
        result = asked(call_ahead(service.address, timeout_s=0.5, tls="must" if verb == "STARTTLS" else "may"))
        assert result.outcome is Outcome.UNKNOWN
        assert "no answer in time" in result.detail or "timed out" in result.detail
        # A reply that dribbled on would hold the call for ever; this is no measurement.
        assert time.monotonic() - started < 30


class _Dribbling:
    """A connection whose unfinished replies never end."""

    def __init__(self, connected: socket.socket, service: ScriptedService) -> None:
        self._connected = connected
        self._service = service
        self.recv = connected.recv

    def sendall(self, data: bytes) -> None:
        self._connected.sendall(data)
        while data.endswith(b"250-\r\n") and not self._service.ending.wait(0.02):
            self._connected.sendall(b"x")


def test_late_answer_reaches_nobody() -> None:
    late: list[socket.socket] = []

    def keep(connected: socket.socket) -> None:
        late.append(connected)
        service.hang(connected)

    with ScriptedService(keep) as service:
        check = call_ahead(service.address, timeout_s=0.3)
        assert asked(check).is_unknown
        wait_until(lambda: late != [], "the service has the connection")
        service.handler = FakeSmtp(replies={"RCPT": "550 5.1.1 no"})
        with suppress(OSError):  # nobody is there any more
            late[0].sendall(b"220 late\r\n250 ok\r\n250 ok\r\n250 ok\r\n")
        assert asked(call_ahead(service.address)).outcome is Outcome.NOT_FOUND


def test_hanging_server_leaves_time_for_the_next() -> None:
    with ScriptedService(FakeSmtp()) as first, ScriptedService(FakeSmtp()) as second:
        first.handler = first.hang
        assert asked(call_ahead([first.address, second.address], timeout_s=4.0)).server == second.address


# loops


def test_this_host_is_not_called_where_it_takes_mail() -> None:
    with ScriptedService(FakeSmtp()) as service:
        port = int(service.address.rpartition(":")[2])
        by_setting = asked(call_ahead(service.address, own_ports=[25, port]))
        by_macro = asked(call_ahead(service.address), envelope(daemon_port=str(port)))
        assert service.connections == 0
        assert asked(call_ahead(service.address), envelope(daemon_port="none")).is_found
    for result in (by_setting, by_macro):
        assert (result.outcome, result.detail) == (
            Outcome.UNKNOWN,
            f"loop: {service.address} is this host, where it takes mail itself",
        )
    assert asked(call_ahead("127.0.0.1")).detail.startswith("loop: ")


@pytest.mark.parametrize(("is_client", "options"), [(True, {}), (False, {"calls_client": True})])
def test_client_is_not_called_unless_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, is_client: bool, options: dict[str, Any]
) -> None:
    with ScriptedService(FakeSmtp()) as service:
        for module in ("check", "caller"):  # 127.0.0.1 in the place of another host
            monkeypatch.setattr(f"defang_worker.checks.callahead.{module}.loop.is_this_host", lambda ip: False)
        result = asked(call_ahead(service.address, **options), envelope(ip="127.0.0.1"))
        assert service.connections == (0 if is_client else 1)
    assert result.outcome is (Outcome.NOT_APPLICABLE if is_client else Outcome.FOUND)
    if is_client:
        assert result.detail == "the client is that server"


def test_another_program_of_this_host_is_called_for_a_client_of_this_host() -> None:
    with ScriptedService(FakeSmtp()) as service:
        assert asked(call_ahead(service.address), envelope(ip="127.0.0.1")).is_found


@pytest.mark.parametrize("greeting", [f"220 {OWN_NAME.upper()} ESMTP", "220 other.example.org"])
@pytest.mark.parametrize("is_this_host", [True, False])
def test_server_with_our_name_is_this_host_behind_another_address(
    monkeypatch: pytest.MonkeyPatch, greeting: str, is_this_host: bool
) -> None:
    monkeypatch.setattr(dialogue, "is_this_host", lambda ip: is_this_host)
    fake = FakeSmtp(greeting=greeting, replies={"EHLO": f"250 {OWN_NAME} Hello"})
    with ScriptedService(fake) as service:
        result = asked(call_ahead(service.address))
    assert result.is_found == is_this_host
    assert ("loop: " in result.detail) == (not is_this_host)
    assert ("QUIT" in fake.commands) == is_this_host


def test_calls_of_calls_come_to_an_end() -> None:
    fake = FakeSmtp()
    with ScriptedService(fake) as service:
        check = call_ahead(service.address)
        assert asked(check, envelope(args=mark(MAX_DEPTH - 1))).is_found
        assert f"MAIL FROM:<alice@example.com> {mark(MAX_DEPTH)}" in fake.commands
        last = asked(check, envelope(args=mark(MAX_DEPTH)))
        assert service.connections == 1
    assert (last.outcome, last.detail) == (Outcome.UNKNOWN, "loop: servers that call one another")


# what is there


def test_features_tell_how_servers_greet() -> None:
    with ScriptedService(FakeSmtp()) as service:
        check = call_ahead([service.address, "mx:gone.example"], resolver="127.0.0.1:9")
        there, gone = check.features(Deadline.after(20))
        assert (there.kind, there.name, there.address) == ("CallAhead", "call-ahead", service.address)
        assert (there.is_reachable, there.version) == (True, "mail.example.org ESMTP")
        assert (gone.is_reachable, gone.address) == (False, "mx:gone.example:25")
        assert gone.detail
        (chosen,) = call_ahead(lambda recipient: service.address).features(Deadline.after(20))
    assert (chosen.is_reachable, chosen.address) == (None, "one for each recipient")


def test_check_may_stand_in_a_file_of_settings(spool: Path) -> None:
    file = spool / "settings.toml"
    file.write_text(
        '[checks.ahead]\nkind = "CallAhead"\nservers = ["mail.example.org:2525"]\ntls = "must"\nsender = "<>"\n'
        f'memory = "{spool}/calls.sqlite"\non_failure = "mark"\n'
    )
    (check,) = Settings.load(str(file)).checks
    assert isinstance(check, CallAhead)
    assert (check.name, check.on_failure, check.sender) == ("ahead", "mark", "<>")
