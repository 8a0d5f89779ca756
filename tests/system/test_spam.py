# SPDX-License-Identifier: GPL-3.0-or-later
"""Spam checks against the real things: SpamAssassin's spamd with local tests only, and rspamd with rules of our own."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from defang_worker import Filter, Message
from defang_worker.checks import Check, Outcome, Rspamd, Spamd, SpamdLearn, SpamResult
from defang_worker.checks.budget import Deadline
from defang_worker.testing import MessageBuilder, Result, run_filter
from tests.support.certificate import CERTIFICATE
from tests.support.daemons import Chain, private_home
from tests.support.mail_samples import plain
from tests.support.mail_site import MILTER_OPTIONS, SCAN_LIMIT_S, MakeReceiver, mail_site
from tests.support.postfix import Postfix
from tests.support.process import Program
from tests.support.sendmail import Sendmail
from tests.support.smtp_client import submit
from tests.support.spam_services import GTUBE, Addresses, running_rspamd, running_spamd

pytestmark = pytest.mark.system

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def spamd() -> Iterator[Addresses]:
    with running_spamd() as addresses:
        yield addresses


@pytest.fixture(scope="module")
def rspamd() -> Iterator[Addresses]:
    with running_rspamd() as addresses:
        yield addresses


class Site(Filter):
    """Runs one check, and keeps what came of it."""

    def __init__(self, check: Check[Message, Any]) -> None:
        self.check = check
        self.result: Any = None

    def filter_begin(self, message: Message) -> None:
        self.result = message.run_checks(self.check)[self.check]


def scan(check: Spamd, text: str = GTUBE, ip: str = "192.0.2.7") -> SpamResult:
    site = Site(check)
    run_filter(_letter(text), site, relay_ip=ip, relay_host="client.example.com")
    assert isinstance(site.result, SpamResult)
    return site.result


def _letter(text: str) -> MessageBuilder:
    return MessageBuilder().subject("Lunch").text(f"{text}\n")


# SpamAssassin


@pytest.mark.parametrize("ask", ["check", "symbols", "report"])
@pytest.mark.parametrize("way", ["socket", "tcp", "tls"])
def test_spamd_finds_the_test_pattern(spamd: Addresses, ask: str, way: str) -> None:
    tls = ssl.create_default_context(cafile=str(CERTIFICATE)) if way == "tls" else False
    result = scan(Spamd(getattr(spamd, way), ask=ask, tls=tls))  # type: ignore[arg-type]  # one of the three
    assert result.outcome is Outcome.FOUND
    assert result.score is not None
    assert result.score > 900
    assert result.required == 5.0
    assert ("GTUBE" in result.names) == (ask != "check")
    assert ("Generic Test for Unsolicited Bulk Email" in result.report) == (ask == "report")


def test_spamd_report_has_the_rules_that_it_names(spamd: Addresses) -> None:
    by_name = scan(Spamd(spamd.socket, ask="symbols"))
    by_report = scan(Spamd(spamd.socket))
    assert sorted(by_report.names.split(",")) == sorted(by_name.names.split(","))
    assert 1000.0 in [symbol.score for symbol in by_report.symbols]


def test_spamd_leaves_ordinary_mail_alone(spamd: Addresses) -> None:
    result = scan(Spamd(spamd.socket), "Shall we meet at noon? Bring the map, please, and the other one.")
    assert result.outcome is Outcome.NOT_FOUND
    assert result.score is not None
    assert result.score < 5


def test_spamd_reads_client_and_sender_out_of_the_fields_of_this_hop(spamd: Addresses) -> None:
    """Its rules for the HELO and for what no hop has both depend on the Received that we write."""
    plain = scan(Spamd(spamd.socket, ask="symbols"), "noon")
    assert not {"NO_RELAYS", "NO_RECEIVED"} & set(plain.names.split(","))
    # 127.0.0.0/8 is trusted: with the client's address read wrong there is no relay that counts.
    assert "ALL_TRUSTED" in scan(Spamd(spamd.socket, ask="symbols"), "noon", "127.0.0.1").names
    assert "ALL_TRUSTED" not in plain.names


def test_spamd_learns_and_forgets(spamd: Addresses) -> None:
    outcomes = []
    for lesson in ("spam", "spam", "forget", "forget", "ham"):
        site = Site(SpamdLearn(lesson, spamd.socket, timeout_s=60))
        run_filter(_letter("to be learned"), site)
        outcomes.append(site.result.outcome)
    learned, known = Outcome.FOUND, Outcome.NOT_FOUND
    assert outcomes == [learned, known, learned, known, learned]


def test_spamd_says_what_it_speaks(spamd: Addresses) -> None:
    (feature,) = Spamd(spamd.tcp).features(Deadline.after(30))
    assert (feature.is_reachable, feature.version) == (True, "SPAMD/1.5")


def _page_configuration(directory: Path, *changes: tuple[str, str]) -> Path:
    """SpamAssassin's configuration as docs/spamassassin.md has it, DCC's plugin loaded; its directory."""
    page = (DOCS / "spamassassin.md").read_text()
    (wanted,) = [block for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) if "bayes_path" in block]
    for old, new in changes:
        assert old in wanted
        wanted = wanted.replace(old, new)
    for file in Path("/etc/spamassassin").glob("*.pre"):
        text = file.read_text()
        (directory / file.name).write_text(re.sub(r"^# *(loadplugin .*::DCC)$", r"\1", text, flags=re.MULTILINE))
    (directory / "local.cf").write_text(wanted)
    return directory


def test_configuration_in_the_manual_is_one_of_spamassassins(tmp_path: Path) -> None:
    argv = ["spamassassin", "--lint", "--local", f"--siteconfigpath={_page_configuration(tmp_path)}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_spamd_as_the_manual_has_it_learns_for_the_whole_site(tmp_path: Path) -> None:
    page = (DOCS / "spamassassin.md").read_text()
    with private_home("spamd-") as base:
        home = base / "home"
        (home / "bayes").mkdir(parents=True)
        for path in (home, home / "bayes"):
            shutil.chown(path, "nobody", "nogroup")
        (base / "run").mkdir()
        shutil.chown(base / "run", "nobody", "nogroup")
        (base / "cf").mkdir()
        config = _page_configuration(base / "cf", ("/var/lib/spamassassin", str(home)))
        (options,) = re.findall(r'^OPTIONS="(.*)"$', page, re.MULTILINE)
        for old, new in [
            ("debian-spamd", "nobody"),
            ("/var/lib/spamassassin", str(home)),
            ("/run/spamd", str(base / "run")),
            ("--max-children=5", "--max-children=2 --min-children=1"),
        ]:
            assert old in options
            options = options.replace(old, new)
        argv = ["/usr/sbin/spamd", "--local", f"--siteconfigpath={config}", "--syslog=stderr", *options.split()]
        program = Program("spamd", argv, log=base / "log")
        try:
            program.wait_ready(str(base / "run" / "spamd.sock"))
            source = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL))
            site = tmp_path / "learning.py"
            site.write_text(source.replace("/run/spamd", str(base / "run")))
            taught = [
                run_filter(
                    _letter(f"to {recipient}").header("Message-ID", f"<{number}@x>"),
                    site,
                    recipients=(recipient,),
                    macros=macros,
                ).verdict
                for number, (recipient, macros) in enumerate(
                    [
                        ("spam@learn.example.org", {"auth_authen": "joe"}),
                        ("ham@learn.example.org", {"auth_authen": "joe"}),
                        ("spam@learn.example.org", {}),
                        ("bob@example.org", {"auth_authen": "joe"}),
                    ]
                )
            ]
        finally:
            program.stop()
        dump = ["sa-learn", f"--siteconfigpath={config}", "--dump", "magic"]
        told = subprocess.run(dump, capture_output=True, text=True, timeout=60, check=True).stdout
    assert taught == ["discard", "discard", "accept", "accept"]
    assert re.findall(r" (\d+) +0  non-token data: (nspam|nham)", told) == [("1", "nspam"), ("1", "nham")]


def _example(name: str, directory: Path, *changes: tuple[str, str]) -> Path:
    """An example filter, with the changes that a site makes."""
    text = (DOCS / "filters" / f"{name}.py").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = directory / f"{name}.py"
    path.write_text(text)
    return path


def test_example_with_spamassassin_marks_spam_and_adds_the_report(spamd: Addresses, tmp_path: Path) -> None:
    site = _example("spamassassin", tmp_path, ("127.0.0.1:783", spamd.socket), ("= 15.0", "= None"))
    result = run_filter(_letter(GTUBE).header("X-Spam-Score", "0"), site)
    assert result.delivered is not None
    assert re.findall(rb"^X-Spam-Score: (.*)$", result.delivered, re.MULTILINE)[0].startswith(b"100")
    assert b"SpamAssassinReport.txt" in result.delivered
    assert b"Generic Test for Unsolicited Bulk Email" in result.delivered
    large = run_filter(_letter(GTUBE).attach("a.bin", bytes(100 * 1024)), site)
    assert large.changes == ()


# Through mail servers


def with_sendmail(home: Path, sink_port: int, milter: str) -> Sendmail:
    return Sendmail(
        home, hostname="mx.example.org", deliver_to_port=sink_port, milter=milter, scan_limit_s=SCAN_LIMIT_S
    )


def with_postfix(home: Path, sink_port: int, milter: str) -> Postfix:
    return Postfix(home, hostname="mx.example.org", deliver_to_port=sink_port, milter=milter, scan_limit_s=SCAN_LIMIT_S)


@pytest.mark.parametrize("receiver", [with_sendmail, with_postfix])
def test_spam_is_marked_by_spamd_on_its_way_through_a_mail_server(
    spamd: Addresses, tmp_path: Path, receiver: MakeReceiver
) -> None:
    source = _example("spamassassin", tmp_path, ("127.0.0.1:783", spamd.tcp), ("= 15.0", "= None"))
    with mail_site(receiver, Chain(filter=source, milter_options=MILTER_OPTIONS)) as site:
        for name, text in (("spam", GTUBE), ("lunch", "Shall we meet at noon? Bring the map, please.")):
            letter = plain(name, name, more=["X-Spam-Score: 0 () FORGED"], body=f"{text}\r\n".encode())
            assert submit(site.receiver.port, letter, recipients=[f"{name}@example.net"]).code == 250
        marked = site.sink.wait_for(b"spam@example.net").content
        ordinary = site.sink.wait_for(b"lunch@example.net").content
        assert site.daemons.logs().count("check spamd: ") == 2
    (score,) = re.findall(rb"^X-Spam-Score: (.*(?:\r\n\s.*)*)\r$", marked, re.MULTILINE)
    assert re.match(rb"\d{3,}\.\d \(\*+\)\s[\w,\s]*\bGTUBE\b", score)
    assert b"Generic Test for Unsolicited Bulk Email" in marked
    assert b"X-Spam-Score" not in ordinary
    assert ordinary.endswith(b"\r\nShall we meet at noon? Bring the map, please.\r\n")


@pytest.mark.parametrize("receiver", [with_sendmail, with_postfix])
def test_mail_server_does_what_rspamd_decides(rspamd: Addresses, tmp_path: Path, receiver: MakeReceiver) -> None:
    source = _example("rspamd", tmp_path, ("127.0.0.1:11333", rspamd.tcp))
    with mail_site(receiver, Chain(filter=source, milter_options=MILTER_OPTIONS)) as site:
        letters = {
            "spam": plain("spam", "lunch", body=f"{GTUBE}\r\n".encode()),
            "cheap": plain("cheap", "cheap"),
            "lunch": plain("lunch", "lunch"),
        }
        codes = {
            name: submit(site.receiver.port, letter, recipients=[f"{name}@example.net"]).code
            for name, letter in letters.items()
        }
        assert codes == {"spam": 554, "cheap": 250, "lunch": 250}
        marked, ordinary = (site.sink.wait_for(b"%b@example.net" % name).content for name in (b"cheap", b"lunch"))
        assert site.sink.received(b"spam@example.net") == []
    assert re.search(rb"^X-Spam: Yes\r$", marked, re.MULTILINE)
    assert b"X-Spam:" not in ordinary


# rspamd


def test_example_with_rspamd_does_what_it_decides(rspamd: Addresses, tmp_path: Path) -> None:
    site = _example("rspamd", tmp_path, ("127.0.0.1:11333", rspamd.socket))
    assert run_filter(_letter(GTUBE), site).verdict == "reject"
    marked = run_filter(_letter("noon").subject("cheap"), site)
    assert marked.delivered is not None
    assert b"\nX-Spam-Score: 7.5 (*******) " in marked.delivered
    assert b"\nX-Spam: Yes\n" in marked.delivered


class Applies(Filter):
    """Does what rspamd would."""

    def __init__(self, address: str) -> None:
        self.check = Rspamd(address)

    def filter_begin(self, message: Message) -> None:
        self.result = message.run_checks(self.check)[self.check]
        self.result.apply(message)


def apply(address: str, message: MessageBuilder) -> tuple[Applies, Result]:
    site = Applies(address)
    macros = {"auth_authen": "joe", "tls_version": "TLSv1.3", "daemon_name": "smtpd"}
    result = run_filter(
        message,
        site,
        relay_ip="192.0.2.7",
        relay_host="client.example.com",
        helo="helo.example.com",
        sender="alice@example.com",
        recipients=("bob@example.org", "carol@example.org"),
        macros=macros,
    )
    return site, result


@pytest.mark.parametrize("way", ["socket", "tcp"])
def test_rspamd_is_told_all_of_the_envelope_and_its_edits_are_made(rspamd: Addresses, way: str) -> None:
    letter = _letter("noon").header("X-Old", "1").header("X-Old", "2")
    site, result = apply(getattr(rspamd, way), letter)
    assert (site.result.outcome, site.result.action) == (Outcome.NOT_FOUND, "no action")
    assert [symbol.name for symbol in site.result.symbols] == ["ENVELOPE"]
    assert (site.result.score, site.result.required) == (1.5, 15.0)
    assert result.delivered is not None
    header = result.delivered.partition(b"\n\n")[0].split(b"\n")
    assert header[0] == b"X-Top: top"
    (told,) = [line for line in header if line.startswith(b"X-Envelope: ")]
    words = told.decode().split()[1:]
    queue_id = words.pop(5)
    assert queue_id
    assert words == [
        *("192.0.2.7", "client.example.com", "helo.example.com", "alice@example.com"),
        *("bob@example.org,carol@example.org", "joe", "TLSv1.3", "smtpd"),
    ]
    assert b"X-Old" not in result.delivered


def test_rspamd_refuses_the_test_pattern(rspamd: Addresses) -> None:
    site, result = apply(rspamd.socket, _letter(GTUBE))
    assert site.result.is_found
    assert result.verdict == "reject"


def test_rspamd_marks_what_is_probably_spam(rspamd: Addresses) -> None:
    site, result = apply(rspamd.socket, _letter("noon").subject("cheap").header("X-Spam", "No"))
    assert (site.result.is_found, site.result.action) == (True, "add header")
    assert result.delivered is not None
    assert b"\nX-Spam: Yes\n" in result.delivered
    assert b"X-Spam: No" not in result.delivered


def test_rspamd_may_skip_a_message(rspamd: Addresses) -> None:
    site, result = apply(rspamd.socket, _letter("noon").subject("skip"))
    assert site.result.outcome is Outcome.NOT_APPLICABLE
    assert result.verdict == "accept"


def test_rspamd_is_told_the_null_sender(rspamd: Addresses) -> None:
    site = Applies(rspamd.socket)
    result = run_filter(_letter("noon"), site, sender="<>", relay_ip="192.0.2.7")
    assert site.result.outcome is Outcome.NOT_FOUND
    assert result.delivered is not None


def test_rspamd_says_its_version(rspamd: Addresses) -> None:
    (feature,) = Rspamd(rspamd.socket).features(Deadline.after(30))
    assert feature.is_reachable
    assert feature.version.startswith("rspamd/")
