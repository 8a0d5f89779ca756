# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls ahead to real Sendmail, in clear and by TLS, over IPv4 and IPv6, and through the whole chain of a gateway."""

from __future__ import annotations

import re
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from defang_worker.checks import Outcome
from defang_worker.checks.budget import Deadline
from defang_worker.checks.callahead.loop import MAX_DEPTH
from tests.support.certificate import CERTIFICATE, KEY
from tests.support.daemons import Chain, Daemons, private_home, running
from tests.support.mail_site import MILTER_OPTIONS
from tests.support.postfix import Postfix
from tests.support.process import free_port, wait_until
from tests.support.sendmail import Sendmail
from tests.support.sink import Sink
from tests.worker.checks.callahead.calls import asked, call_ahead
from tests.worker.checks.envelopes import envelope

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "docs" / "filters" / "call_ahead.py"
TRUSTED = ssl.create_default_context(cafile=str(CERTIFICATE))
REPLY_LIMIT_S = 60.0
# root is a user of every machine; the others are not, and one is known to be full.
BEHIND = """
define(`confSERVER_CERT', `{home}/cert.pem')dnl
define(`confSERVER_KEY', `{home}/key.pem')dnl
define(`confCACERT', `{home}/cert.pem')dnl
define(`confCACERT_PATH', `{home}')dnl
define(`LOCAL_MAILER_PATH', `/bin/true')dnl
LOCAL_DOMAIN(`example.org')dnl
FEATURE(`access_db', `hash -T<TMPF> -o {home}/access')dnl
FEATURE(`blocklist_recipients')dnl
DAEMON_OPTIONS(`Name=six, Family=inet6, Addr=::1, Port={port}')dnl
MAILER(`local')dnl
"""
ACCESS = """To:full@example.org\tERROR:4.2.2:452 Mailbox is full
From:spam@example.net\tERROR:5.7.1:550 No mail from you
"""


@dataclass(frozen=True, slots=True)
class Behind:
    """The server behind the gateway."""

    mta: Sendmail
    home: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.mta.port}"


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    with private_home("behind-") as base, Sink() as sink:
        home = base / "mta"
        home.mkdir()
        for source, name in ((CERTIFICATE, "cert.pem"), (KEY, "key.pem")):
            shutil.copy(source, home / name)
            (home / name).chmod(0o600)
        subprocess.run(["/usr/sbin/makemap", "hash", home / "access"], input=ACCESS.encode(), check=True)
        mta = Sendmail(home, hostname="behind.example.org", deliver_to_port=sink.port, more=BEHIND)
        with mta.listening():
            yield Behind(mta, home)


@pytest.mark.parametrize(
    ("host", "tls"),
    [("127.0.0.1", "never"), ("127.0.0.1", "may"), ("127.0.0.1", TRUSTED), ("[::1]", "never"), ("[::1]", "may")],
    ids=lambda value: str(value).partition(" ")[0],
)
def test_sendmail_tells_who_is_there(behind: Behind, host: str, tls: str | ssl.SSLContext) -> None:
    check = call_ahead(f"{host}:{behind.mta.port}", tls=tls)
    there = asked(check, envelope("<root@example.org>"))
    gone = asked(check, envelope("<nobody-there@example.org>"))
    full = asked(check, envelope("<full@example.org>"))
    refused = asked(check, envelope("<root@example.org>", sender="<spam@example.net>"))
    assert (there.outcome, there.code, there.dsn) == (Outcome.FOUND, 250, "2.1.5")
    assert (gone.outcome, gone.code, gone.dsn) == (Outcome.NOT_FOUND, 550, "5.1.1")
    assert gone.text == "User unknown"
    assert (full.outcome, full.code, full.dsn, full.text) == (Outcome.UNKNOWN, 452, "4.2.2", "Mailbox is full")
    assert (refused.outcome, refused.command) == (Outcome.UNKNOWN, "MAIL")
    assert {one.tls.startswith("TLSv1.") for one in (there, gone, full)} == {tls != "never"}


def test_certificate_for_another_address_is_not_trusted(behind: Behind) -> None:
    result = asked(call_ahead(f"[::1]:{behind.mta.port}", tls=TRUSTED), envelope("<root@example.org>"))
    assert (result.outcome, "certificate is not valid for '::1'" in result.detail) == (Outcome.UNKNOWN, True)


def test_features_tell_that_sendmail_is_there(behind: Behind) -> None:
    (feature,) = call_ahead(behind.address).features(Deadline.after(30))
    assert feature.is_reachable
    assert feature.version.startswith("behind.example.org ESMTP Sendmail")


@contextmanager
def gateway(make: type[Sendmail | Postfix], servers: str) -> Iterator[tuple[Daemons, smtplib.SMTP]]:
    """The example filter in a chain behind a mail server, and a client that has said MAIL."""
    with private_home("ahead-") as home, Sink() as sink:
        milter = f"unix:{home}/spool/milter.sock"
        mta = make(home / "mta", hostname="mx.example.org", deliver_to_port=sink.port, milter=milter)
        changes = {
            '["mail1.internal.example.org", "mail2.internal.example.org"]': servers.replace("OWN_PORT", str(mta.port)),
            "/var/spool/MIMEDefang/": f"{home}/spool/",
        }
        source = EXAMPLE.read_text()
        for old, new in changes.items():
            assert old in source
            source = source.replace(old, new)
        (home / "gateway.py").write_text(source)
        chain = Chain(filter=home / "gateway.py", milter_options=(*MILTER_OPTIONS, "-t"), mux_options=("-x", "6", "-l"))
        with (
            running(chain, home=home) as daemons,
            mta.listening(),
            smtplib.SMTP("127.0.0.1", mta.port, timeout=REPLY_LIMIT_S) as client,
        ):
            client.ehlo("client.example.com")
            assert client.mail("alice@example.com")[0] == 250
            yield daemons, client


@pytest.mark.parametrize(("make", "address"), [(Sendmail, b"<nobody-there@example.org>... "), (Postfix, b"")])
def test_gateway_refuses_whom_the_server_behind_it_does_not_know(
    behind: Behind, make: type[Sendmail | Postfix], address: bytes
) -> None:
    """Sendmail puts the address before what a filter says."""
    with gateway(make, f'["127.0.0.1:{free_port()}", "{behind.address}"]') as (daemons, client):
        there = client.rcpt("root@example.org")
        gone = client.rcpt("nobody-there@example.org")
        full = client.rcpt("full@example.org")
        elsewhere = client.rcpt("bob@example.net")
        again = client.rcpt("nobody-there@example.org")
        told = re.compile(r"check call-ahead: [\w-]+ in [\d.]+ ms")
        wait_until(lambda: len(told.findall(daemons.logs())) == 5, "five checks in the log")
        log = daemons.logs()
    assert (there[0], elsewhere[0]) == (250, 250)
    assert gone == again == (550, b"5.1.1 " + address + b"User unknown")
    assert full[0] == 451
    assert full[1].startswith(b"4.3.0 Could not be checked now (call-ahead)")
    assert re.search(rf"check call-ahead: found in [\d.]+ ms: {behind.address} to RCPT: 250 2.1.5", log)
    assert "452 4.2.2 Mailbox is full" in log


@pytest.mark.parametrize("make", [Sendmail, Postfix])
def test_gateway_that_calls_itself_comes_to_an_end(make: type[Sendmail | Postfix]) -> None:
    """Its port is not one of those that it knows for its own, so the marks of its calls have to tell."""
    with gateway(make, '["127.0.0.1:OWN_PORT"]') as (daemons, client):
        code, text = client.rcpt("root@example.org")
        assert (code, text[:6]) == (451, b"4.3.0 ")
        # A worker's lines come to the log a little later than its answer.
        told = "to RCPT: 451 4.3.0 "
        wait_until(lambda: daemons.logs().count(told) == MAX_DEPTH, f"{MAX_DEPTH} calls in the log")
        assert daemons.logs().count("loop: servers that call one another") == 1
