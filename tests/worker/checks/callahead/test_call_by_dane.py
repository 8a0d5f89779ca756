# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls ahead that go by TLSA records: servers that show the right certificate, another one, or none."""

from __future__ import annotations

import hashlib
import ssl

import pytest

from defang_worker.checks import CallAhead, CallAheadResult, Outcome, Resolver
from defang_worker.checks.tls.certificate import public_key_info
from tests.support.certificate import CERTIFICATE
from tests.support.dns_server import DnsServer, Fault
from tests.support.fake_smtp import FakeSmtp
from tests.support.scripted_service import ScriptedService
from tests.worker.checks.callahead.calls import asked, call_ahead
from tests.worker.checks.envelopes import envelope

KEY = hashlib.sha256(public_key_info(ssl.PEM_cert_to_DER_cert(CERTIFICATE.read_text()))).hexdigest()
ZONE = "example.org MX 10 mx.example.org\nmx.example.org A 127.0.0.1"
RIGHT = f"3 1 1 {KEY}"
WRONG = f"3 1 1 {'0' * 64}"
UNUSABLE = f"1 1 1 {KEY}"
RCPT = "RCPT TO:<bob@example.org>"


def called(
    fake: FakeSmtp, *records: str, insecure: str = "", fault: bool = False, is_trusted: bool | None = None
) -> CallAheadResult:
    with ScriptedService(fake) as service, DnsServer(ZONE) as server:
        port = service.address.rpartition(":")[2]
        name = f"_{port}._tcp.mx.example.org"
        for record in records:
            server.add(f"{name} TLSA {record}")
        server.authentic = {"example.org", "mx.example.org", name} - {insecure}
        if fault:
            server.faults[name] = Fault.SERVFAIL
        resolver = Resolver(server.address, is_trusted=is_trusted)
        return asked(call_ahead(f"mx:example.org:{port}", tls="dane", resolver=resolver))


def test_server_with_the_certificate_of_its_record_is_asked() -> None:
    fake = FakeSmtp(tls=True, replies={"RCPT": "550 5.1.1 no"})
    result = called(fake, WRONG, RIGHT)
    assert (result.outcome, result.tls.startswith("TLSv1.")) == (Outcome.NOT_FOUND, True)
    assert f"tls {RCPT}" in fake.commands


def test_server_with_another_certificate_is_told_nothing() -> None:
    fake = FakeSmtp(tls=True)
    result = called(fake, WRONG)
    assert (result.outcome, "DANE: no TLSA record matches the certificate" in result.detail) == (Outcome.UNKNOWN, True)
    assert not [line for line in fake.commands if "RCPT" in line or "MAIL" in line]


@pytest.mark.parametrize("record", [RIGHT, UNUSABLE])
def test_server_with_records_that_offers_no_tls_is_told_nothing(record: str) -> None:
    fake = FakeSmtp()
    result = called(fake, record)
    assert (result.outcome, "offers no STARTTLS" in result.detail) == (Outcome.UNKNOWN, True)
    assert not [line for line in fake.commands if "RCPT" in line]


def test_records_that_cannot_be_used_have_any_certificate_do() -> None:
    fake = FakeSmtp(tls=True)
    assert called(fake, UNUSABLE).is_found
    assert f"tls {RCPT}" in fake.commands


@pytest.mark.parametrize(
    ("records", "insecure"),
    [((), ""), ((WRONG,), "example.org"), ((WRONG,), "mx.example.org")],
    ids=["no records", "MX not secure", "address not secure"],
)
@pytest.mark.parametrize("offered", [True, False])
def test_without_records_that_hold_tls_is_taken_if_it_is_offered(
    records: tuple[str, ...], insecure: str, offered: bool
) -> None:
    result = called(FakeSmtp(tls=offered), *records, insecure=insecure)
    assert (result.outcome, result.tls != "") == (Outcome.FOUND, offered)


def test_server_whose_records_cannot_be_had_is_not_called() -> None:
    fake = FakeSmtp(tls=True)
    result = called(fake, RIGHT, fault=True)
    assert (result.outcome, "TLSA records: " in result.detail) == (Outcome.UNKNOWN, True)
    assert fake.commands == []


def test_nameserver_that_is_not_trusted_cannot_tell() -> None:
    result = called(FakeSmtp(tls=True), RIGHT, is_trusted=False)
    assert (result.outcome, "DNSSEC does not count" in result.detail) == (Outcome.UNKNOWN, True)


def test_dane_is_for_domains() -> None:
    with pytest.raises(ValueError, match='tls="dane" is for "mx:domain"'):
        CallAhead(["mx:example.org", "127.0.0.1:25"], tls="dane")
    result = asked(call_ahead(lambda recipient: "127.0.0.1:25", tls="dane"), envelope())
    assert (result.outcome, 'tls="dane" is for' in result.detail) == (Outcome.UNKNOWN, True)
