# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/classic_site.py as a site has it: Sendmail, the whole chain, ClamAV and SpamAssassin, all real."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from defang_worker.testing import MessageBuilder
from tests.support.clamav import EICAR, VIRUS_NAME, running_clamd
from tests.support.daemons import Chain, make_spool, private_home
from tests.support.mail_site import MILTER_OPTIONS, SCAN_LIMIT_S, Site, mail_site
from tests.support.process import wait_until
from tests.support.sendmail import Sendmail
from tests.support.sink import Sink
from tests.support.smtp_client import SmtpReply, submit
from tests.support.spam_services import GTUBE, running_spamd
from tests.system.test_viruses import nested, zipped

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "docs" / "filters" / "classic_site.py"
# Mail from loopback would be the site's own.
STRANGERS = ('("127.0.0.0/8", "::1", "10.0.0.0/8")', '("10.0.0.0/8",)')
REJECTS_SPAM = "reject_spam_at: float | None = 15.0"
USUAL: dict[str, str] = {}
KEEPS_ALL = {
    'on_virus = "discard"': 'on_virus = "quarantine"',
    'on_program = "drop"': 'on_program = "quarantine"',
    "quarantine_spam_at: float | None = None": "quarantine_spam_at: float | None = 10.0",
    REJECTS_SPAM: "reject_spam_at: float | None = None",
}
REFUSES_ALL = {
    'on_virus = "discard"': 'on_virus = "reject"',
    'on_program = "drop"': 'on_program = "reject"',
    REJECTS_SPAM: "reject_spam_at: float | None = None",
}


def receiver(home: Path, sink_port: int, milter: str) -> Sendmail:
    return Sendmail(
        home, hostname="mx.example.org", deliver_to_port=sink_port, milter=milter, scan_limit_s=SCAN_LIMIT_S
    )


@pytest.fixture(scope="module")
def scanners() -> Iterator[list[tuple[str, str]]]:
    """Where the example finds them."""
    with running_clamd() as clamd, running_spamd() as spamd:
        yield [("/run/clamav/clamd.ctl", clamd.socket), ("127.0.0.1:783", spamd.socket)]


@dataclass(frozen=True, slots=True)
class Classic:
    """The site, what the postmaster is sent, and what is kept."""

    site: Site
    postmaster: Sink
    kept: Path

    def sent(self, name: str, message: MessageBuilder) -> SmtpReply:
        """The reply to a message from outside, to a recipient of that name."""
        letter = message.from_("alice@example.com").to(f"{name}@example.net").subject(name)
        return submit(self.site.receiver.port, letter.bytes(newline=b"\r\n"), recipients=[f"{name}@example.net"])

    def delivered(self, name: str) -> bytes:
        """What that recipient gets."""
        return self.site.sink.wait_for(f"{name}@example.net".encode()).content

    def is_discarded(self, name: str, reply: SmtpReply) -> bool:
        """Whether the client was told yes, and a later message has come, but this one has not."""
        assert self.sent(f"after-{name}", MessageBuilder().text("Hello\n")).code == 250
        self.delivered(f"after-{name}")
        return reply.code == 250 and not self.site.sink.received(f"{name}@example.net".encode())

    def kept_files(self, name: str) -> str:
        """All that is kept of the message with this subject."""
        wait_until(lambda: any(name in _text(file) for file in self.kept.rglob("HEADERS")), f"{name} is kept")
        (directory,) = {file.parent for file in self.kept.rglob("HEADERS") if name in _text(file)}
        return "\n".join(_text(file) for file in sorted(directory.iterdir()) if file.is_file())


def _text(file: Path) -> str:
    return file.read_text(errors="replace")


@pytest.fixture(scope="module", params=[USUAL, KEEPS_ALL, REFUSES_ALL], ids=["usual", "keeps all", "refuses all"])
def classic(request: pytest.FixtureRequest, scanners: list[tuple[str, str]]) -> Iterator[Classic]:
    with private_home("site-") as home, Sink() as postmaster:
        kept = home / "kept"
        make_spool(kept)
        mine = f'    settings = Settings(\n        quarantine_dir="{kept}", submit_to="127.0.0.1:{postmaster.port}",\n'
        source = EXAMPLE.read_text()
        for old, new in [STRANGERS, ("    settings = Settings(\n", mine), *scanners, *request.param.items()]:
            assert source.count(old) == 1
            source = source.replace(old, new)
        (home / "site.py").write_text(source)
        with mail_site(receiver, Chain(filter=home / "site.py", milter_options=MILTER_OPTIONS)) as site:
            yield Classic(site, postmaster, kept)


def test_ordinary_mail_arrives_as_it_was_sent(classic: Classic) -> None:
    letter = MessageBuilder().text("Shall we meet at noon? Bring the map, please.\n").attach("map.png", b"\x89PNG")
    assert classic.sent("ordinary", letter).code == 250
    arrived = classic.delivered("ordinary")
    assert arrived.endswith(letter.bytes(newline=b"\r\n").partition(b"\r\n\r\n")[2])
    assert b"X-Spam-Score" not in arrived


def test_virus_in_a_zip_in_an_attached_message(classic: Classic, request: pytest.FixtureRequest) -> None:
    reply = classic.sent(
        "virus", MessageBuilder().text("Hello\n").attach_message(nested(EICAR).replace(b"\r\n", b"\n"))
    )
    match request.node.callspec.id:
        case "refuses all":
            assert (reply.code, reply.text) == (554, f"5.7.1 Virus found: {VIRUS_NAME}".encode())
        case "keeps all":
            assert classic.is_discarded("virus", reply)
            assert f"virus {VIRUS_NAME}" in classic.kept_files("virus")
            assert b"quarantine" in classic.postmaster.wait_for(b"postmaster@example.org").content.lower()
        case _:
            assert classic.is_discarded("virus", reply)
            assert not list(classic.kept.rglob("HEADERS"))


@pytest.mark.parametrize(("name", "content"), [("setup.exe", b"MZ"), ("setup.zip", b"")], ids=["plain", "zipped"])
def test_program(classic: Classic, request: pytest.FixtureRequest, name: str, content: bytes) -> None:
    word = name.replace(".", "-")
    letter = MessageBuilder().text("Hello\n").attach(name, content or zipped(b"MZ"))
    reply = classic.sent(word, letter)
    if "refuses all" in request.node.name:
        assert (reply.code, reply.text.startswith(b"5.7.1 Not accepted here: ")) == (554, True)
        return
    assert reply.code == 250
    arrived = classic.delivered(word)
    assert name.encode() + b" was removed" in arrived.replace(b"=\r\n", b"")
    assert b"filename=" + name.encode() not in arrived
    if "keeps all" in request.node.name:
        assert "is of a kind that is not allowed here" in classic.kept_files(word)


def test_spam(classic: Classic, request: pytest.FixtureRequest) -> None:
    reply = classic.sent("spam", MessageBuilder().text(f"{GTUBE}\n").header("X-Spam-Score", "-9"))
    if "keeps all" in request.node.name:
        assert classic.is_discarded("spam", reply)
        assert "points" in classic.kept_files("spam")
    elif "refuses all" in request.node.name:  # of spam it refuses nothing
        assert reply.code == 250
        arrived = classic.delivered("spam")
        assert re.findall(rb"^X-Spam-Score: \d+\.\d \(\*{40}\)", arrived, re.MULTILINE)
        assert b"X-Spam-Score: -9" not in arrived
        assert b"SpamAssassinReport.txt" in arrived
        assert b"Generic Test for Unsolicited Bulk Email" in arrived
    else:
        assert (reply.code, reply.text.startswith(b"5.7.1 This looks like spam (100")) == (554, True)


def test_mail_of_100_kb_is_not_judged(classic: Classic) -> None:
    letter = MessageBuilder().text(f"{GTUBE}\n").attach("large.bin", bytes(100 * 1024))
    assert classic.sent("large", letter).code == 250
    assert b"X-Spam-Score" not in classic.delivered("large")
