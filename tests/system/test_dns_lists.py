# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/dns_lists.py in the whole chain behind real mail servers, with a nameserver of its own.

The client is on loopback, for which SPF has no other word than pass; that is tried in tests/examples.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemons import Chain, Daemons, private_home, running
from tests.support.dns_server import DnsServer
from tests.support.mail_site import MILTER_OPTIONS
from tests.support.postfix import Postfix
from tests.support.process import wait_until
from tests.support.sendmail import Sendmail
from tests.support.sink import Sink

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "docs" / "filters" / "dns_lists.py"
REPLY_LIMIT_S = 60.0
RECORDS = """
good.example MX 10 mx.good.example
mx.good.example A 8.8.8.8
bogus.example MX 10 mx.bogus.example
mx.bogus.example A 10.0.0.1
1.0.0.127.in-addr.arpa PTR localhost.good.example
localhost.good.example A 127.0.0.1
"""
MAKERS = ("DnsList(\n", 'DnsList("list', "ReverseName(", "SenderMx(", "Spf(")


@contextmanager
def client(make: type[Sendmail | Postfix], records: str) -> Iterator[tuple[Daemons, smtplib.SMTP]]:
    """A client of the site that has connected, if the nameserver has these records, and has said EHLO."""
    with private_home("lists-") as home, Sink() as sink, DnsServer(records) as server:
        source = EXAMPLE.read_text()
        for maker in MAKERS:
            assert source.count(maker) == 1
            name, parenthesis, rest = maker.partition("(")
            source = source.replace(maker, f"{name}_here{parenthesis}{rest}")
        here = "".join(
            f"{name}_here = lambda *words, **more: {name}(*words, resolver={server.address!r}, **more)\n"
            for name in ("DnsList", "ReverseName", "SenderMx", "Spf")
        )
        source = source.replace("\n\nclass Site", f"\n{here}\n\nclass Site")
        (home / "lists.py").write_text(source)
        chain = Chain(filter=home / "lists.py", milter_options=(*MILTER_OPTIONS, "-r", "-s"))
        with running(chain, home=home) as daemons:
            mta = make(
                home / "mta", hostname="mx.example.org", deliver_to_port=sink.port, milter=daemons.milter_address
            )
            with mta.listening(), smtplib.SMTP(timeout=REPLY_LIMIT_S) as session:
                session.connect("127.0.0.1", mta.port)
                session.docmd("EHLO client.example.com")
                yield daemons, session


@pytest.mark.parametrize("make", [Sendmail, Postfix])
def test_client_on_a_list_is_refused(make: type[Sendmail | Postfix]) -> None:
    with client(make, RECORDS + "1.0.0.127.zen.spamhaus.org A 127.0.0.2") as (daemons, session):
        code, _ = session.docmd("MAIL FROM:<a@good.example>")
        assert code // 100 == 5
        for told in ("check blocklist: found in ", "127.0.0.1 is listed at zen.spamhaus.org"):
            wait_until(lambda told=told: told in daemons.logs(), f"{told} in the log")  # type: ignore[misc]


@pytest.mark.parametrize("make", [Sendmail, Postfix])
def test_sender_is_refused_by_what_the_dns_says_of_it(make: type[Sendmail | Postfix]) -> None:
    with client(make, RECORDS) as (_, session):
        replies = {
            domain: session.docmd(f"MAIL FROM:<a@{domain}>")
            for domain in ("bogus.example", "missing.example", "good.example")
        }
    assert replies["bogus.example"] == (554, b"5.7.1 No answer can be sent to you: bogus.example has 10.0.0.1")
    assert replies["missing.example"][1].startswith(b"5.7.1 No answer can be sent to you: missing.example has no mail")
    assert replies["good.example"][0] == 250
