# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/classic_site.py with each of a site's decisions, and scanners that are played. tests/system has real
ones."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from defang_worker import Filter
from defang_worker.checks import Clamd, Spamd
from defang_worker.effects.contract import LetterKind
from defang_worker.testing import MessageBuilder, Result, run_filter
from tests.examples.conftest import Example
from tests.support.fake_scanners import VIRUS, FakeClamd
from tests.support.fake_spam_services import FakeSpamd
from tests.support.scripted_service import ScriptedService

REPORT = b"---- ---------------------- ------\n 6.8 CHEAP                  It is cheap\n"
LETTER = MessageBuilder().text("Hello\n")
INFECTED = MessageBuilder().text("Hello\n").attach("a.bin", VIRUS)


class Site:
    """The example, with the scanners of the tests."""

    def __init__(self, filter_class: type[Filter], spool: Path) -> None:
        self.clamd = ScriptedService(FakeClamd(), spool / "clamd.sock")
        self.spamd = ScriptedService(FakeSpamd(spam=b"False ; 1.0 / 5.0"), spool / "spamd.sock")
        self.filter_class = filter_class

    def spam(self, score: bytes) -> None:
        """From now on this is the score."""
        self.spamd.handler = FakeSpamd(spam=b"True ; " + score + b" / 5.0", body=REPORT)

    def run(self, message: MessageBuilder, *, ip: str = "192.0.2.7", macros: Any = None, **decisions: Any) -> Result:
        example: Any = self.filter_class
        members = {
            "clamd": Clamd(self.clamd.address, max_bytes=example.clamd.max_bytes),
            "spamd": Spamd(self.spamd.address, max_bytes=example.spamd.max_bytes),
        }
        made = type("UnderTest", (example,), members | decisions)
        return run_filter(message, made, relay_ip=ip, **({"macros": macros} if macros else {}))


@pytest.fixture
def site(example: Example, spool: Path) -> Iterator[Site]:
    made = Site(example("classic_site"), spool)
    with made.clamd, made.spamd:
        yield made


def names(result: Result) -> list[str]:
    return [part.filename for part in result.parts]


def zipped(name: str, content: bytes = b"x") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def test_ordinary_mail_passes_unchanged(site: Site) -> None:
    letter = MessageBuilder().text("Hello\n").html("<p>Hello</p>").attach("a.zip", zipped("notes.txt"))
    result = site.run(letter)
    assert (result.verdict, result.changes) == ("accept", ())
    assert [line.split(",")[2] for _, line in result.lines] == ["mail_in"]


# viruses


@pytest.mark.parametrize(
    ("decision", "verdict", "is_kept"), [("discard", "discard", False), ("quarantine", "discard", True)]
)
def test_virus_is_discarded_and_kept_if_that_is_wanted(site: Site, decision: str, verdict: str, is_kept: bool) -> None:
    result = site.run(INFECTED, on_virus=decision)
    assert (result.verdict, len(result.quarantined)) == (verdict, int(is_kept))
    assert {one.kind for one in result.notifications} == ({LetterKind.QUARANTINE_REPORT} if is_kept else set())
    assert site.spamd.connections == 0


def test_virus_is_refused_if_that_is_wanted(site: Site) -> None:
    result = site.run(INFECTED, on_virus="reject")
    assert (result.verdict, result.reply, result.quarantined) == ("reject", "Virus found: Test.Virus", ())


def test_virus_in_mail_of_our_own_is_stopped_too(site: Site) -> None:
    assert site.run(INFECTED, ip="10.1.2.3").verdict == "discard"


def test_mail_waits_while_a_scanner_is_down(site: Site) -> None:
    site.clamd.handler = lambda connected: None
    assert site.run(LETTER).verdict == "tempfail"
    site.clamd.handler = FakeClamd()
    site.spamd.handler = lambda connected: None
    assert site.run(LETTER).verdict == "tempfail"
    assert site.run(LETTER, ip="10.1.2.3").verdict == "accept"  # which spamd is not asked about


def test_mail_too_large_for_the_scanner_passes_with_a_mark(site: Site) -> None:
    result = site.run(MessageBuilder().text("Hello\n").attach("a.bin", bytes(19 * 1024 * 1024)))
    assert result.verdict == "accept"
    assert result.headers.get("X-Virus-Scanned") == "no, too large"
    assert site.clamd.connections == 0


def test_forged_line_end_in_the_header_is_kept_and_discarded(site: Site) -> None:
    result = site.run(MessageBuilder().header("X-Odd", b"a\rb"))
    assert (result.verdict, len(result.quarantined)) == ("discard", 1)


# attachments


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.exe", b"x"),
        ("A.SCR", b"x"),
        ("a.pdf.js", b"x"),
        ("a.zip", zipped("dir/a.exe")),
        ("a.zip", zipped("b.zip", zipped("a.vbs"))),
        ("a.zip", b"PK\x03\x04 damaged"),
    ],
)
@pytest.mark.parametrize("decision", ["drop", "quarantine", "reject"])
def test_program_is_removed_kept_or_refused(site: Site, name: str, content: bytes, decision: str) -> None:
    result = site.run(MessageBuilder().text("Hello\n").attach(name, content), on_program=decision)
    if decision == "reject":
        assert (result.verdict, result.reply.startswith("Not accepted here: ")) == ("reject", True)
        return
    assert result.verdict == "accept"
    assert names(result) == ["warning.txt", ""]
    assert f"The attachment {name} was removed: " in result.parts[0].text
    assert len(result.quarantined) == (1 if decision == "quarantine" else 0)


def test_list_of_programs_is_that_of_the_suggested_minimum(example: Example) -> None:
    ours, minimum = (sys.modules[example(name).__module__] for name in ("classic_site", "suggested_minimum"))
    assert ours.PROGRAMS == minimum.BLOCKED


def test_fragment_is_refused(site: Site) -> None:
    result = site.run(MessageBuilder().header("Content-Type", "message/partial; id=a; number=1").body(b"x"))
    assert (result.verdict, "Fragments" in result.reply) == ("reject", True)


# spam


def test_spam_gets_stars_and_the_report(site: Site) -> None:
    site.spam(b"6.8")
    result = site.run(MessageBuilder().text("Hello\n").header("X-Spam-Score", "-9"))
    assert result.verdict == "accept"
    assert result.headers.all("X-Spam-Score") == ["6.8 (******) CHEAP"]
    assert names(result) == ["", "SpamAssassinReport.txt"]
    assert "It is cheap" in result.parts[1].text


def test_forged_score_goes_from_mail_that_is_no_spam(site: Site) -> None:
    result = site.run(MessageBuilder().text("Hello\n").header("X-Spam-Score", "-9"))
    assert result.headers.all("X-Spam-Score") == []


@pytest.mark.parametrize(
    ("score", "verdict", "kept"), [(b"9.9", "accept", 0), (b"10.0", "discard", 1), (b"20.0", "reject", 0)]
)
def test_spam_is_kept_or_refused_from_the_scores_of_the_site(site: Site, score: bytes, verdict: str, kept: int) -> None:
    site.spam(score)
    result = site.run(LETTER, quarantine_spam_at=10.0, reject_spam_at=20.0)
    assert (result.verdict, len(result.quarantined)) == (verdict, kept)
    assert site.run(LETTER, quarantine_spam_at=None, reject_spam_at=None).verdict == "accept"


def test_mail_of_100_kb_is_not_shown_to_spamassassin(site: Site) -> None:
    site.spam(b"6.8")
    large = MessageBuilder().text("Hello\n").attach("a.bin", bytes(100 * 1024))
    assert site.run(large).changes == ()
    assert site.spamd.connections == 0


# our own mail


@pytest.mark.parametrize(
    "session", [{"ip": "10.1.2.3"}, {"ip": "::1"}, {"ip": "127.0.0.1"}, {"macros": {"auth_authen": "joe"}}]
)
def test_mail_of_our_own_gets_the_disclaimer_once_and_no_judgement(site: Site, session: dict[str, Any]) -> None:
    site.spam(b"20.0")
    result = site.run(MessageBuilder().text("Hello\n").html("<p>Hello</p>"), **session)
    assert result.verdict == "accept"
    assert [part.text.count("Example Ltd.") for part in result.parts] == [1, 1]
    assert result.delivered is not None
    again = run_filter(result.delivered, site.filter_class, relay_ip="10.1.2.3", may_fail=True)
    assert again.verdict == "tempfail"  # the example as it stands has its scanners elsewhere
    assert site.spamd.connections == 0
