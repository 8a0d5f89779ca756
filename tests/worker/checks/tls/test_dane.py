# SPDX-License-Identifier: GPL-3.0-or-later
"""DANE's look-ups, with a nameserver on the loopback that vouches for what a test says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.api.envelope import Connection
from defang_worker.checks import Dane, DaneResult, DaneState, Outcome, Resolver
from defang_worker.checks.budget import Deadline
from defang_worker.checks.subject import recipient_domains
from defang_worker.checks.tls.dane_hosts import dane_domain
from defang_worker.checks.tls.tlsa import TlsaRecord
from tests.support.dns_server import DnsServer, Fault

DIGEST = "ab" * 32
ZONE = f"""
example.com MX 10 mx.example.com
example.com MX 20 mx2.example.com
mx.example.com A 192.0.2.1
mx2.example.com AAAA 2001:db8::2
_25._tcp.mx.example.com TLSA 3 1 1 {DIGEST}
_25._tcp.mx2.example.com TLSA 2 0 1 {DIGEST}
"""
SECURE = {"example.com", "mx.example.com", "mx2.example.com", "_25._tcp.mx.example.com", "_25._tcp.mx2.example.com"}


def message(*recipients: str) -> Message:
    lines = "".join(f"R<{one}> ? ? ?\n" for one in recipients)
    envelope = f"S<alice@example.org>\nQQ1\nHclient.example.com\nI192.0.2.7\nEhelo.example.com\n{lines}F\n"
    return Message(commands.decode(envelope.encode()), b"Subject: x\n\nx\n", "/nowhere", Settings())


def looked_up(
    zone: str = ZONE,
    secure: set[str] | frozenset[str] = frozenset(SECURE),
    faults: dict[str, Fault] | None = None,
    recipients: tuple[str, ...] = ("bob@example.com",),
    **more: Any,
) -> DaneResult:
    with DnsServer(zone) as server:
        server.authentic.update(secure)
        server.faults.update(faults or {})
        check = Dane(resolver=Resolver(server.address), **more)
        return message(*recipients).run_checks(check)[check]


def states(result: DaneResult) -> dict[str, str]:
    (domain,) = result.domains
    return {host.name: host.state.value for host in domain.hosts}


def test_domain_whose_hosts_all_have_records_is_found() -> None:
    result = looked_up()
    assert (result.outcome, result.detail) == (Outcome.FOUND, "example.com: usable records")
    (domain,) = result.domains
    assert domain.is_secure
    assert [(one.name, one.preference, one.base, one.records) for one in domain.hosts] == [
        ("mx.example.com", 10, "mx.example.com", (TlsaRecord(3, 1, 1, bytes.fromhex(DIGEST)),)),
        ("mx2.example.com", 20, "mx2.example.com", (TlsaRecord(2, 0, 1, bytes.fromhex(DIGEST)),)),
    ]


def test_one_host_without_records_is_enough_for_mail_to_be_kept_off_the_others() -> None:
    result = looked_up("\n".join(line for line in ZONE.splitlines() if "2 0 1" not in line))
    assert result.outcome is Outcome.NOT_FOUND
    assert states(result) == {"mx.example.com": "usable", "mx2.example.com": "none"}


def test_without_dnssec_for_the_mail_hosts_it_does_not_apply_and_no_host_is_asked_for_records() -> None:
    with DnsServer(ZONE) as server:
        server.authentic.update(SECURE - {"example.com"})
        check = Dane(resolver=Resolver(server.address))
        result = message("bob@example.com").run_checks(check)[check]
        assert (result.outcome, result.detail) == (Outcome.NOT_APPLICABLE, "example.com: no DNSSEC")
        assert not any(name.startswith("_25") for name in server.names_asked())


@pytest.mark.parametrize("insecure", ["mx.example.com", "_25._tcp.mx.example.com"])
def test_without_dnssec_for_addresses_or_records_a_host_has_none(insecure: str) -> None:
    result = looked_up(secure=SECURE - {insecure})
    assert result.outcome is Outcome.NOT_APPLICABLE
    assert states(result) == {"mx.example.com": "insecure", "mx2.example.com": "usable"}


def test_host_without_dnssec_is_not_asked_for_records() -> None:
    with DnsServer(ZONE) as server:
        server.authentic.update(SECURE - {"mx.example.com"})
        dane_domain("example.com", Resolver(server.address), Deadline.after(30))
        assert [name for name in server.names_asked() if name.startswith("_")] == ["_25._tcp.mx2.example.com"]


def test_records_that_cannot_be_used_are_told_from_none() -> None:
    zone = ZONE.replace("3 1 1", "1 1 1")
    result = looked_up(zone)
    assert (result.outcome, states(result)["mx.example.com"]) == (Outcome.NOT_FOUND, "unusable")
    assert "cannot be used" in result.detail


def test_word_of_a_nameserver_that_is_not_trusted_does_not_count() -> None:
    with DnsServer(ZONE) as server:
        server.authentic.update(SECURE)
        check = Dane(resolver=Resolver(server.address, is_trusted=False))
        result = message("bob@example.com").run_checks(check)[check]
        assert result.outcome is Outcome.UNKNOWN
        assert "does not count" in result.detail
        assert server.asked == []


@pytest.mark.parametrize("name", ["example.com", "mx.example.com", "_25._tcp.mx.example.com"])
@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.GARBAGE, Fault.SILENT])
def test_look_up_that_fails_could_not_tell(name: str, fault: Fault) -> None:
    timeout_s = 20.0 if fault is Fault.SERVFAIL else 1.0
    result = looked_up(faults={name: fault}, timeout_s=timeout_s)
    assert result.outcome is Outcome.UNKNOWN
    assert name in result.detail


def test_domain_without_mx_records_is_its_own_host() -> None:
    zone = f"example.com A 192.0.2.1\n_25._tcp.example.com TLSA 3 1 1 {DIGEST}"
    result = looked_up(zone, {"example.com", "_25._tcp.example.com"})
    assert (result.outcome, states(result)) == (Outcome.FOUND, {"example.com": "usable"})


def test_domain_that_takes_no_mail_or_does_not_exist() -> None:
    result = looked_up("example.com MX 0 .")
    assert (result.outcome, result.detail) == (Outcome.NOT_APPLICABLE, "example.com: takes no mail")
    assert looked_up("").detail == "example.com: no mail host"


ALIAS = f"""
example.com MX 10 mx.example.com
mx.example.com CNAME host.example.net
host.example.net A 192.0.2.1
_25._tcp.mx.example.com TLSA 3 1 1 {DIGEST}
"""


def test_alias_in_a_secure_zone_that_leads_out_of_it_has_records_of_its_own() -> None:
    result = looked_up(ALIAS, {"example.com", "mx.example.com CNAME", "_25._tcp.mx.example.com"})
    (host,) = result.domains[0].hosts
    assert (host.state, host.base) == (DaneState.USABLE, "mx.example.com")
    result = looked_up(ALIAS, {"example.com", "_25._tcp.mx.example.com"})
    assert states(result) == {"mx.example.com": "insecure"}


def test_records_of_the_name_behind_a_secure_alias_come_first() -> None:
    secure = {"example.com", "mx.example.com", "_25._tcp.mx.example.com", "_25._tcp.host.example.net"}
    (host,) = looked_up(ALIAS, secure).domains[0].hosts
    assert (host.state, host.base) == (DaneState.USABLE, "mx.example.com")
    zone = ALIAS + f"_25._tcp.host.example.net TLSA 2 1 1 {DIGEST}"
    (host,) = looked_up(zone, secure).domains[0].hosts
    assert (host.base, host.records[0].usage) == ("host.example.net", 2)


def test_all_domains_of_a_message_count_and_each_is_asked_once() -> None:
    zone = ZONE + "example.net MX 10 mx.example.net\nmx.example.net A 192.0.2.3"
    secure = SECURE | {"example.net", "mx.example.net", "_25._tcp.mx.example.net"}
    result = looked_up(zone, secure, recipients=("a@example.com", "b@EXAMPLE.com", "c@example.net"))
    assert [(one.domain, one.state) for one in result.domains] == [
        ("example.com", DaneState.USABLE),
        ("example.net", DaneState.NONE),
    ]
    assert result.outcome is Outcome.NOT_FOUND
    assert looked_up(recipients=("a@example.com", "b@missing.example")).outcome is Outcome.NOT_APPLICABLE


def test_domain_that_never_answers_does_not_take_the_time_of_the_others() -> None:
    slow = {f"slow{number}.example": Fault.SILENT for number in range(3)}
    result = looked_up(faults=slow, timeout_s=3.0, about=lambda _: [*slow, "example.com"])
    assert [one.state for one in result.domains] == [DaneState.UNKNOWN] * 3 + [DaneState.USABLE]


def test_about_gives_other_domains_and_names_are_made_ascii() -> None:
    assert looked_up(about=lambda _: "Example.COM.", recipients=("x@elsewhere.example",)).is_found
    result = looked_up(about=lambda _: ["b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example"])
    assert result.domains[0].domain == "xn--bcher-kva.example"


@pytest.mark.parametrize("recipient", ["postmaster", "bob@[192.0.2.1]", "bob@192.0.2.1"])
def test_recipient_without_a_domain_is_not_asked_about(recipient: str) -> None:
    assert looked_up(recipients=(recipient,)).domains == ()
    assert looked_up(about=lambda _: "\N{SNOWMAN}" * 80).outcome is Outcome.NOT_APPLICABLE


def test_message_to_very_many_domains_is_not_asked_about() -> None:
    result = looked_up(about=lambda _: [f"d{number}.example" for number in range(11)])
    assert (result.outcome, result.detail) == (Outcome.UNKNOWN, "11 domains are more than 10")


def test_domains_of_recipients_are_those_of_a_message_or_of_the_recipient_that_is_asked_about() -> None:
    mail = message("a@example.com", "b@example.net")
    assert recipient_domains(mail) == ("example.com", "example.net")
    assert recipient_domains(mail.envelope) == ("example.net",)
    nobody = Connection(ip="192.0.2.7", hostname="[x]", client_port=1, my_ip="", my_port=25, queue_id=None)
    assert recipient_domains(nobody) == ()


def test_result_stands_in_the_record() -> None:
    told = json.loads(json.dumps(looked_up().as_record()))
    assert told["domains"] == [
        {
            "domain": "example.com",
            "state": "usable",
            "hosts": {"mx.example.com": "usable", "mx2.example.com": "usable"},
        }
    ]
