# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/from-mimedefang.md: the Python beside the Perl does what its heading says, and nothing to other mail."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from defang_mux import settings as mux_settings
from defang_worker.api import filter_file
from defang_worker.checking.rules import check_source
from defang_worker.effects.recorded import RecordedEffects
from defang_worker.testing import MessageBuilder, Result, run_filter
from tests.examples.test_what_examples_do import names
from tests.support.dns_server import DnsServer
from tests.support.fake_scanners import VIRUS, FakeClamd
from tests.support.fake_smtp import FakeSmtp
from tests.support.fake_spam_services import FakeSpamd
from tests.support.scripted_service import Handler, ScriptedService
from tests.worker.conftest import make_worker

PAGE = (Path(__file__).parents[2] / "docs" / "from-mimedefang.md").read_text()
PAIRS = dict(
    re.findall(r"^### ([^\n]+)\n(?:(?!^###).)*?```perl\n.*?```\n\n```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
)
Run = Callable[..., Result]
Looks = Callable[[Run], bool]

LARGE = b"\0" * 1_000_001
LETTER = MessageBuilder().text("Hello\n").html("<p>Hello</p>\n")


def attached(name: str, data: bytes = b"words", content_type: str = "application/octet-stream") -> MessageBuilder:
    return MessageBuilder().text("Hello\n").attach(name, data, content_type)


def said(result: Result) -> tuple[str, str]:
    return result.stage, result.verdict.value


TRIED: dict[str, list[Looks]] = {
    "Settings": [lambda run: "MDLOG,TRIAL001,mail_in" in run(LETTER).lines[0][1]],
    "Refuse a client": [
        lambda run: said(run(LETTER, relay_ip="192.0.2.9")) == ("relay", "reject"),
        lambda run: not run(LETTER, relay_ip="198.51.100.1").modified,
    ],
    "Refuse a HELO with our own name": [
        lambda run: said(run(LETTER, helo="MX.example.org")) == ("helo", "reject"),
        lambda run: not run(LETTER, helo="mx.example.org", relay_ip="127.0.0.1").modified,
    ],
    "Refuse a sender, unless it has logged in": [
        lambda run: said(run(LETTER, sender="a@SPAM.example")) == ("sender", "reject"),
        lambda run: not run(LETTER, sender="a@spam.example", macros={"auth_authen": "bob"}).modified,
    ],
    "Refuse a recipient": [
        lambda run: run(LETTER, recipients=("Former@example.org",)).dsn == "5.1.1",
        lambda run: said(run(LETTER, recipients=("busy@example.org",))) == ("recipient", "tempfail"),
        lambda run: not run(LETTER).modified,
    ],
    "Remember something between callbacks": [lambda run: run(LETTER).headers.get("X-Stranger") == "yes"],
    "Refuse or discard a message": [
        lambda run: run(MessageBuilder().subject("LOTTERY ü")).reply == "We do not play",
        lambda run: said(run(LETTER, sender="spam@example.com")) == ("message", "discard"),
        lambda run: not run(LETTER).modified,
    ],
    "Drop parts by their names": [
        lambda run: names(run(attached("a.EXE."))) == ["warning.txt", ""],
        lambda run: names(run(attached("a.zip"))) == ["warning.txt", ""],
        lambda run: not run(attached("a.txt")).modified,
    ],
    "Drop, replace, rename or warn": [
        lambda run: run(attached("a.bin", LARGE)).parts[-1].text == "a.bin was too large.\n",
        lambda run: names(run(attached("a.html", content_type="text/html"))) == ["warning.txt", "", "a.html.bin"],
        lambda run: names(run(attached("a.DOC"))) == ["warning.txt", "", "a.DOC"],
        lambda run: names(run(attached("winmail.dat", content_type="application/ms-tnef"))) == [""],
        lambda run: not run(LETTER).modified,
    ],
    "Quarantine, and tell about it": [
        lambda run: run(attached("a.iso")).quarantined[0].files["PART.1.BODY"] == b"words",
        lambda run: (
            sorted(letter.kind.value for letter in run(attached("a.iso")).notifications)
            == ["admin-notice", "quarantine-report", "sender-notice"]
        ),
        lambda run: not run(LETTER).modified,
    ],
    "Replace a part by a link": [
        lambda run: "a.bin is at https://files.example.org/" in run(attached("a.bin", LARGE)).parts[-1].text,
        lambda run: not run(LETTER).modified,
    ],
    "Header fields": [
        lambda run: "X-Internal" not in run(MessageBuilder().header("X-Internal", "1")).headers,
        lambda run: run(MessageBuilder().header("X-Checked", "no")).headers.all("X-Checked") == ["yes"],
        lambda run: run(LETTER).headers.items()[0] == ("X-First", "at the top"),
        lambda run: run(LETTER).headers.get("X-Client") == "192.0.2.1",
    ],
    "Recipients and sender": [
        lambda run: run(LETTER, recipients=("nobody@example.org",)).recipients == ("<archive@example.org>",),
        lambda run: run(LETTER).sender == "<bounces@example.org>",
    ],
    "Boilerplate": [
        lambda run: all("Example Ltd." in part.text for part in run(LETTER).parts),
        lambda run: [part.content_type for part in run(LETTER, sender="a@plain.example").parts] == ["text/plain"],
    ],
    "A message for each domain": [
        lambda run: len(run(LETTER, recipients=("a@example.org", "b@example.net")).letters) == 2,
        lambda run: run(LETTER).headers.get("X-Rules-Of") == "example.org",
    ],
    "Start, end, and log": [
        lambda run: any("known: <Alice@example.org>" in line for line in run(LETTER, sender="Alice@example.org").log),
        lambda run: not run(LETTER).log,
    ],
}
LISTED = "7.2.0.192.bl.example.net A 127.0.0.2"
REPORT = b"---- ---------------------- ------\n 6.8 CHEAP                  It is cheap\n"
SPAM = FakeSpamd(spam=b"True ; 6.8 / 5.0", body=REPORT)
CALLED = FakeSmtp(replies={"RCPT TO:<nobody@example.org>": "550 5.1.1 User unknown"})
# Pairs that ask a service: what in them names it, and who plays it.
PLAYED: dict[str, tuple[str, Handler]] = {
    "Ask the server behind for its recipients": ('"mail.example.org"', CALLED),
    "Viruses": ('"/run/clamav/clamd.ctl"', FakeClamd()),
    "Spam": ('"127.0.0.1:783"', SPAM),
}
ASK: dict[str, list[Looks]] = {
    "Ask the server behind for its recipients": [
        lambda run: run(LETTER, recipients=("nobody@example.org",)).reply == "User unknown",
        lambda run: not run(LETTER, recipients=("bob@example.org", "nobody@elsewhere.example")).refused,
    ],
    "Viruses": [
        lambda run: said(run(attached("a.bin", VIRUS))) == ("message", "discard"),
        lambda run: "virus Test.Virus" in str(run(attached("a.bin", VIRUS)).quarantined),
        lambda run: not run(LETTER).modified,
    ],
    "Spam": [
        lambda run: (
            run(MessageBuilder().header("X-Spam-Score", "0")).headers.all("X-Spam-Score") == ["6.8 (******) CHEAP"]
        ),
        lambda run: names(run(LETTER)) == ["", "", "SpamAssassinReport.txt"],
        lambda run: not run(attached("a.bin", bytes(102400))).modified,
    ],
}
LIST = "Refuse a client that a list names"
SERVED = "Lookups, ticks and commands"


def test_every_pair_is_tried() -> None:
    assert PAIRS.keys() == {*TRIED, *ASK, LIST, SERVED}
    assert PAGE.count("```perl") == PAGE.count("```python") == len(PAIRS)


@pytest.mark.parametrize("heading", TRIED)
def test_python_does_what_its_heading_says(heading: str, spool: Path) -> None:
    path = spool / "site.py"
    path.write_text(PAIRS[heading])

    def run(message: MessageBuilder, **session: Any) -> Result:
        return run_filter(message, path, **session)

    for number, looks in enumerate(TRIED[heading]):
        assert looks(run), number


@pytest.mark.parametrize("heading", ASK)
def test_python_asks_a_service_for_what_its_heading_says(heading: str, spool: Path) -> None:
    address, handler = PLAYED[heading]
    with ScriptedService(handler) as service:
        path = spool / "site.py"
        assert PAIRS[heading].count(address) == 1
        path.write_text(PAIRS[heading].replace(address, f'"{service.address}"'))
        for number, looks in enumerate(ASK[heading]):
            assert looks(lambda message, **session: run_filter(message, path, **session)), number
        service.handler = lambda connected: None
        down = run_filter(LETTER, path, recipients=("carol@example.org",))
    assert (down.verdict, down.reply.startswith("Could not be checked now")) == ("tempfail", True)


def test_python_asks_a_list_for_what_its_heading_says(spool: Path) -> None:
    with DnsServer(LISTED) as server:
        path = spool / "site.py"
        path.write_text(PAIRS[LIST].replace('"ignore")', f'"ignore", resolver="{server.address}")'))
        assert run_filter(LETTER, path, relay_ip="192.0.2.7").reply == "192.0.2.7 is listed"
        assert not run_filter(LETTER, path, relay_ip="192.0.2.8").modified
    assert server.names_asked() == ["7.2.0.192.bl.example.net", "8.2.0.192.bl.example.net"]


def test_lookups_and_commands_are_answered(spool: Path) -> None:
    path = spool / "site.py"
    path.write_text(PAIRS[SERVED])
    worker = make_worker(filter_file.load(str(path), RecordedEffects()))
    assert worker.answer(b"map access2 spam.example") == b"OK REJECT\n"
    assert worker.answer(b"map access2 example.org") == b"NOTFOUND \n"
    assert worker.answer(b"greet Bob") == b"ok Hello%20Bob\n"


def test_checker_finds_nothing_wrong_with_any() -> None:
    assert [check_source("site.py", source) for source in PAIRS.values()] == [[]] * len(PAIRS)


def test_options_that_the_page_says_are_served_are_ours() -> None:
    assert "serve all options; `-E` embeds no Perl" in PAGE
    assert "E" in {option.letter for option in mux_settings.OPTIONS}
