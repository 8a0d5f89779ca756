# SPDX-License-Identifier: GPL-3.0-or-later
"""Each example filter does what its opening says, tried as a site would try it: by `defang_worker.testing`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dkim
import pytest

from defang_worker.checks import Check, Greylist, Outcome, RateLimit, Resolver, Rspamd, Spamd, SqliteStore
from defang_worker.effects.contract import LetterKind
from defang_worker.testing import MessageBuilder, Result, run_filter
from tests.examples.conftest import FILTERS, Example
from tests.support.archive_maker import zipped
from tests.support.dns_server import DnsServer
from tests.support.fake_spam_services import FakeRspamd, FakeSpamd
from tests.support.scripted_service import ScriptedService
from tests.worker.checks.fakes import FakeCheck

PROGRAM = b"MZ" + b"\0" * 58 + b"\x40\0\0\0" + b"PE\0\0" + b"\0" * 60
WAIT_S = 30
NEED_NOTHING = ("disclaimer", "header_rules", "large_attachments", "per_recipient", "stream_by_domain", "quarantine")


def names(result: Result) -> list[str]:
    return [part.filename for part in result.parts]


@pytest.mark.parametrize("name", [*NEED_NOTHING, "suggested_minimum"])
def test_ordinary_message_keeps_its_body(name: str, spool: Path) -> None:
    """And no server, file or directory is needed to try it."""
    message = MessageBuilder().text("Hello").html("<p>Hello</p>").attach("notes.txt", "notes", "text/plain").bytes()
    (spool / "letter.eml").write_bytes(message)
    words = ["test-mail", "--json", "--filter", str(FILTERS / f"{name}.py"), str(spool / "letter.eml")]
    done = subprocess.run(
        [sys.executable, "-m", "defang_worker", *words], capture_output=True, timeout=WAIT_S, check=True
    )
    told = json.loads(done.stdout)
    assert told["verdict"] == "accept"
    assert [change for change in told["changes"] if change["change"] != "add-header"] == []


# suggested minimum


@pytest.mark.parametrize(
    ("outcome", "verdict", "event"),
    [(Outcome.FOUND, "discard", "virus"), (Outcome.NOT_FOUND, "accept", "mail_in"), (Outcome.UNKNOWN, "tempfail", "")],
)
def test_scanner_in_the_settings_is_asked(example: Example, outcome: Outcome, verdict: str, event: str) -> None:
    site = example("suggested_minimum")
    site.settings = replace(site.settings, checks=(FakeCheck(does=outcome),))
    result = run_filter(MessageBuilder().attach("x.exe", PROGRAM), site)
    assert result.verdict == verdict
    assert [line.split(",")[2] for _, line in result.lines if ",bad_filename" not in line] == [event] * bool(event)


@pytest.mark.parametrize("name", ["letter.eml", "letter.txt"])
def test_program_attached_to_a_message_in_a_zip_is_dropped_with_it(example: Example, name: str) -> None:
    letter = MessageBuilder().text("Hello").attach("x.exe", PROGRAM).bytes()
    result = run_filter(
        MessageBuilder().text("Hi").attach("b.zip", zipped({name: letter})), example("suggested_minimum")
    )
    assert any("b.zip" in warning for warning in result.warnings)
    assert "b.zip" not in names(result)


# disclaimer


def test_disclaimer_is_added_to_text_and_html_of_our_own_mail(example: Example) -> None:
    message = (
        MessageBuilder().text("Grüße", charset="iso-8859-1").html("<p>Hello</p>").attach("a.txt", "x", "text/plain")
    )
    ours = run_filter(message, example("disclaimer"), sender="alice@example.org")
    plain, html, attached = ours.parts
    assert plain.text.startswith("Grüße")
    assert "Example Ltd." in plain.text
    assert plain.charset == "iso-8859-1"
    assert "<small>Example Ltd." in html.text
    assert attached.text == "x"
    assert not run_filter(message, example("disclaimer"), sender="alice@example.com").modified


def test_disclaimer_is_added_once(example: Example) -> None:
    first = run_filter(MessageBuilder().text("Hello"), example("disclaimer"), sender="alice@example.org")
    assert first.delivered is not None
    assert not run_filter(first.delivered, example("disclaimer"), sender="bob@example.org").modified


# stream_by_domain and quarantine; more of them is in test_examples.py


def test_each_domain_gets_a_copy_of_its_own(example: Example) -> None:
    recipients = ("a@law.example.org", "b@lab.example.org", "c@law.example.org")
    result = run_filter(MessageBuilder(), example("stream_by_domain"), recipients=recipients)
    assert result.verdict == "discard"
    assert {letter.recipients for letter in result.letters} == {(recipients[0], recipients[2]), recipients[1:2]}


def test_program_is_kept_and_sender_and_postmaster_are_told(example: Example) -> None:
    result = run_filter(MessageBuilder().text("Hello").attach("a.exe", PROGRAM), example("quarantine"))
    assert names(result) == ["warning.txt", ""]
    (entry,) = result.quarantined
    assert entry.files["PART.1.BODY"] == PROGRAM
    assert {letter.kind for letter in result.notifications} == {LetterKind.SENDER_NOTICE, LetterKind.QUARANTINE_REPORT}


# greylist


def greylist(example: Example, spool: Path, now_s: float, limit: int = 200) -> object:
    store = SqliteStore(str(spool / "greylist.sqlite"))

    class UnderTest(example("greylist")):  # type: ignore[misc]
        greylist = Greylist(store, allow=["10.0.0.0/8"], allow_after=0, clock=lambda: now_s)
        rate = RateLimit(store, by="client", limit=limit, per_s=3600, clock=lambda: now_s)

    UnderTest.store = store
    return UnderTest


def test_stranger_is_deferred_until_the_wait_is_over(example: Example, spool: Path) -> None:
    def come(now_s: float, **session: object) -> Result:
        return run_filter(MessageBuilder(), greylist(example, spool, now_s), **session)  # type: ignore[arg-type]

    first = come(1000)
    assert (first.stage, first.verdict, first.code, first.dsn) == ("recipient", "tempfail", 451, "4.7.1")
    assert come(1299).verdict == "tempfail"
    passed = come(1300, relay_ip="192.0.2.99")  # a neighbour of the first
    assert passed.verdict == "accept"
    assert passed.headers.get("X-Greylist") == "known for 300 seconds"
    assert come(1301, relay_ip="198.51.100.1").verdict == "tempfail"
    assert come(1301, sender="other@example.com").verdict == "tempfail"
    assert come(1300 + 36 * 86400 + 1).verdict == "tempfail"  # forgotten


@pytest.mark.parametrize("ip", ["::1", "10.1.2.3"])
def test_mail_of_this_host_and_its_networks_is_not_greylisted(example: Example, spool: Path, ip: str) -> None:
    result = run_filter(MessageBuilder(), greylist(example, spool, 1), relay_ip=ip)  # type: ignore[arg-type]
    assert result.verdict == "accept"


def test_who_sends_too_much_has_to_wait(example: Example, spool: Path) -> None:
    replies = [
        run_filter(MessageBuilder(), greylist(example, spool, 1, limit=2), relay_ip="10.1.2.3")  # type: ignore[arg-type]
        for _ in range(3)
    ]
    assert [reply.verdict for reply in replies] == ["accept", "accept", "tempfail"]
    assert replies[2].reply == "Too many mails, please try again later"


# dns_lists


DNS_RECORDS = """
66.0.168.192.list.dnswl.org A 127.0.5.2
66.0.168.192.zen.spamhaus.org A 127.0.0.2
7.0.168.192.zen.spamhaus.org A 127.0.0.2
8.0.168.192.zen.spamhaus.org A 127.0.0.10
9.0.168.192.zen.spamhaus.org A 127.255.255.254
good.example MX 10 mx.good.example
good.example TXT "v=spf1 ip4:192.168.0.0/24 -all"
mx.good.example A 8.8.8.8
strict.example MX 10 mx.good.example
strict.example TXT "v=spf1 -all"
bogus.example MX 10 mx.bogus.example
mx.bogus.example A 127.0.0.1
plain.example MX 10 mx.good.example
"""


@pytest.mark.parametrize(
    ("ip", "sender", "reply"),
    [
        ("192.168.0.1", "a@good.example", ""),
        ("192.168.0.66", "a@good.example", ""),
        ("192.168.0.7", "a@good.example", "192.168.0.7 is listed at zen.spamhaus.org"),
        ("192.168.0.8", "a@good.example", ""),
        ("192.168.0.9", "a@good.example", ""),
        ("192.168.0.1", "a@strict.example", "strict.example does not send mail from 192.168.0.1 (SPF)"),
        ("192.168.0.1", "a@bogus.example", "No answer can be sent to you: bogus.example has 127.0.0.1"),
        ("192.168.0.1", "a@missing.example", "No answer can be sent to you: missing.example has no mail host"),
        ("192.168.0.1", "a@plain.example", "Your host has no name"),
    ],
)
def test_dns_tells_of_client_and_sender(example: Example, ip: str, sender: str, reply: str) -> None:
    filter_class = example("dns_lists")
    with DnsServer(DNS_RECORDS) as server:
        for check in vars(filter_class).copy().values():
            if isinstance(check, Check):
                check.resolver = Resolver(server.address)  # type: ignore[attr-defined]
        result = run_filter(MessageBuilder(), filter_class, relay_ip=ip, sender=sender)
    assert result.verdict == ("accept" if not reply else "tempfail" if "no name" in reply else "reject")
    assert result.reply.startswith(reply)


# header_rules


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (MessageBuilder().subject("Grüße vom CASINO"), "We do not play"),
        (MessageBuilder().header("X-Mailer", "Bulk Sender 7"), "Bulk mail is not welcome here"),
        (
            MessageBuilder().header("List-Id", "<a.example>").header("List-Id", "x <offers.example.net>"),
            "Nobody here is on this list",
        ),
    ],
    ids=["subject", "mailer", "second field"],
)
def test_header_is_refused_by_the_table(example: Example, message: MessageBuilder, reply: str) -> None:
    result = run_filter(message, example("header_rules"))
    assert (result.verdict, result.reply) == ("reject", reply)


def test_mark_of_mail_from_outside_cannot_be_forged(example: Example) -> None:
    message = MessageBuilder().header("X-From-Outside", "forged").header("X-Internal-Ticket", "1")
    outside = run_filter(message, example("header_rules"))
    assert outside.headers.all("X-From-Outside") == ["192.0.2.1"]
    assert "X-Internal-Ticket" in outside.headers
    inside = run_filter(message, example("header_rules"), sender="alice@example.org")
    assert "X-Internal-Ticket" not in inside.headers


# dkim_sign


KEY_FILE = Path(__file__).with_name("dkim_test_key.pem")


def public_record() -> bytes:
    """What the DNS has for that key."""
    words = ["openssl", "rsa", "-in", str(KEY_FILE), "-pubout"]
    public = subprocess.run(words, capture_output=True, timeout=WAIT_S, check=True).stdout.decode()
    return b"v=DKIM1; k=rsa; p=" + "".join(line for line in public.splitlines() if not line.startswith("-")).encode()


def verified(result: Result) -> bool:
    """What a receiver finds, who has the key from the DNS."""
    asked: list[bytes] = []

    def txt(name: bytes, **_: object) -> bytes:
        asked.append(name)
        return public_record()

    assert result.delivered is not None
    good = dkim.verify(result.delivered, dnsfunc=txt)
    assert asked in ([], [b"mail._domainkey.example.org."])
    return good


@pytest.mark.parametrize(
    "message",
    [
        MessageBuilder(),
        MessageBuilder().header("X-Mailer", "something").subject("Grüße, " * 30),
        MessageBuilder().text("Hello").attach("a.iso", b"\0" * 1000),
        MessageBuilder().without("MIME-Version").html("<p>Hello</p>" * 100),
        MessageBuilder().body(b""),
        MessageBuilder().header("Content-Type", "text/plain").header("Content-Type", "text/html").body(b"a\n\n\n"),
    ],
    ids=["plain", "header edited", "part dropped", "html", "no body", "two types"],
)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_signature_is_valid_for_what_is_delivered(example: Example, message: MessageBuilder, newline: bytes) -> None:
    class UnderTest(example("dkim_sign")):  # type: ignore[misc]
        key_file = str(KEY_FILE)

        def filter_part(self, message, part):  # type: ignore[no-untyped-def]
            if part.matches("iso$"):
                part.drop(warning="gone")

        def filter_end(self, message):  # type: ignore[no-untyped-def]
            message.headers.add("X-Added", "yes")

    result = run_filter(message.bytes(newline=newline), UnderTest, sender="alice@example.org")
    assert result.headers.all("DKIM-Signature")
    assert verified(result)
    tampered = run_filter(
        result.delivered.replace(b"Message-ID: <", b"Message-ID: <x"),  # type: ignore[union-attr]
        example("header_rules"),
    )
    assert not verified(tampered)


def test_mail_of_others_is_not_signed(example: Example) -> None:
    class UnderTest(example("dkim_sign")):  # type: ignore[misc]
        key_file = str(KEY_FILE)

    assert not run_filter(MessageBuilder(), UnderTest).modified


# large_attachments


def test_large_attachment_becomes_a_link_and_a_small_one_stays(example: Example) -> None:
    large = b"\x89PNG" + b"\0" * 10_000_000
    message = (
        MessageBuilder()
        .text("Hello")
        .attach("big.png", large, "image/png")
        .attach("small.png", b"\x89PNG", "image/png")
    )
    result = run_filter(message, example("large_attachments"))
    (file,) = result.published
    assert (file.directory, bytes(file.content)) == ("/var/www/attachments", large)
    text, link, small = result.parts
    assert text.text == "Hello\n"
    assert f"https://files.example.org/{file.name}" in link.text
    assert "big.png" in link.text
    assert small.filename == "small.png"
    (again,) = run_filter(message, example("large_attachments")).published
    assert again.name != file.name


# per_recipient


def test_one_recipient_is_refused_and_the_others_not(example: Example) -> None:
    recipients = ("Director@example.org", "bob@example.org")
    result = run_filter(MessageBuilder(), example("per_recipient"), sender="x@example.net", recipients=recipients)
    assert [one.address for one in result.refused] == ["<Director@example.org>"]
    assert result.recipients == ("<bob@example.org>",)
    assert not run_filter(MessageBuilder(), example("per_recipient"), recipients=recipients[:1]).refused


def test_recipients_with_one_policy_stay_together(example: Example) -> None:
    recipients = ("archive@example.org", "bob@example.org", "carol@example.org")
    result = run_filter(MessageBuilder(), example("per_recipient"), recipients=recipients)
    assert {letter.recipients for letter in result.letters} == {recipients[:1], recipients[1:]}


@pytest.mark.parametrize(("recipient", "left"), [("archive", ["", "a.exe"]), ("bob", ["warning.txt", ""])])
def test_policy_of_the_recipient_holds(example: Example, recipient: str, left: list[str]) -> None:
    message = MessageBuilder().text("Hello").attach("a.exe", PROGRAM)
    assert names(run_filter(message, example("per_recipient"), recipients=(f"{recipient}@example.org",))) == left


# spamassassin and rspamd; with the real ones they are tried in tests/system


@pytest.mark.parametrize(
    ("score", "verdict", "marked"), [(b"True ; 6.8 / 5.0", "accept", True), (b"True ; 15.0 / 5.0", "reject", True)]
)
def test_spam_gets_stars_and_the_report_or_is_refused(
    example: Example, spool: Path, score: bytes, verdict: str, marked: bool
) -> None:
    site = example("spamassassin")
    report = b"---- ---------------------- ------\n 6.8 CHEAP                  It is cheap\n"
    with ScriptedService(FakeSpamd(spam=score, body=report), spool / "spamd.sock") as service:
        site.spamd = Spamd(service.address)  # type: ignore[attr-defined]  # of the example
        result = run_filter(MessageBuilder(), site)
    assert result.verdict == verdict
    if verdict == "accept":
        assert result.delivered is not None
        assert b"\nX-Spam-Score: 6.8 (******) CHEAP\n" in result.delivered
        assert names(result) == ["", "SpamAssassinReport.txt"]


def test_forged_score_goes_and_ordinary_mail_stays_as_it_is(example: Example, spool: Path) -> None:
    site = example("spamassassin")
    with ScriptedService(FakeSpamd(spam=b"False ; 1.0 / 5.0"), spool / "spamd.sock") as service:
        site.spamd = Spamd(service.address)  # type: ignore[attr-defined]
        result = run_filter(MessageBuilder().header("X-Spam-Score", "-9"), site)
    assert result.delivered is not None
    assert b"X-Spam-Score" not in result.delivered
    assert len(result.parts) == 1


def test_what_users_send_is_judged_apart_and_does_not_wait(example: Example, spool: Path) -> None:
    site = example("rspamd")
    fake = FakeRspamd(action="no action")
    with ScriptedService(fake, spool / "rspamd.sock") as service:
        outbound = site.outbound  # type: ignore[attr-defined]
        site.outbound = Rspamd(service.address, name="outbound", fields={"Settings-ID": "outbound"}, on_failure="mark")  # type: ignore[attr-defined]
        run_filter(MessageBuilder(), site, macros={"auth_authen": "joe"})
        assert b"Settings-ID: outbound" in fake.requests[0][0]
        assert outbound.fields == site.outbound.fields  # type: ignore[attr-defined]
        assert outbound.on_failure is site.outbound.on_failure  # type: ignore[attr-defined]
        service.handler = ScriptedService.close_early
        result = run_filter(MessageBuilder(), site, macros={"auth_authen": "joe"})
    assert result.delivered is not None
    assert b"\nX-Defang-Unchecked: outbound\n" in result.delivered
