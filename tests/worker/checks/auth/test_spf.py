# SPDX-License-Identifier: GPL-3.0-or-later
"""SPF: the test suite of RFC 7208 against a nameserver on the loopback, and what a check makes of each result."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import Outcome, Resolver, Spf, SpfResult
from defang_worker.checks.auth.spf_query import evaluate
from defang_worker.checks.budget import Deadline
from tests.support.dns_server import DnsServer, Fault

SUITE: list[dict[str, Any]] = json.loads((Path(__file__).parent / "rfc7208" / "tests.json").read_text())
LONG_S = 30.0


def quoted(texts: str | list[str]) -> str:
    """The strings of a TXT record, every byte as a number, for some are no text."""
    strings = [texts] if isinstance(texts, str) else texts or [""]  # a record has a string at least
    return " ".join('"' + "".join(f"\\{byte:03}" for byte in text.encode("latin-1")) + '"' for text in strings)


def records_of(given: list[Any]) -> Iterator[tuple[str, str]]:
    """A name's records in the suite; an SPF record stands for the TXT record, unless there is one."""
    pairs = [(rdtype, data) for record in given if isinstance(record, dict) for rdtype, data in record.items()]
    has_text = any(rdtype == "TXT" for rdtype, _ in pairs)
    for rdtype, data in pairs:
        match rdtype:
            case _ if data == "NONE":
                continue
            case "TXT":
                yield "TXT", quoted(data)
            case "SPF":
                if not has_text:
                    yield "TXT", quoted(data)
            case "MX":
                yield "MX", f"{data[0]} {data[1].removesuffix('.')}."
            case "CNAME" | "PTR":
                yield rdtype, f"{data.removesuffix('.')}."
            case _:
                yield rdtype, data


def filled(server: DnsServer, zone: dict[str, list[Any]]) -> None:
    for name, given in zone.items():
        if not all(0 < len(label) < 64 for label in name.removesuffix(".").split(".")):
            continue  # no nameserver can have it
        records = list(records_of(given))
        for rdtype, data in records:
            server.add_one(name, rdtype, data)
        # With records beside it, only questions for the type SPF time out, which are not asked any more.
        if "TIMEOUT" in given and not records:
            server.faults[name.lower()] = Fault.SERVFAIL


@pytest.mark.parametrize("scenario", SUITE, ids=lambda scenario: scenario["description"].replace(" ", "-"))
def test_suite_of_the_rfc(scenario: dict[str, Any]) -> None:
    wrong = []
    with DnsServer() as server:
        filled(server, scenario["zonedata"])
        resolver = Resolver(server.address)
        for name, test in scenario["tests"].items():
            word, explanation = evaluate(
                ip=test["host"],
                sender=test["mailfrom"],
                helo=test["helo"],
                receiver="unknown",
                resolver=resolver,
                deadline=Deadline.after(LONG_S),
                default_explanation="DEFAULT",
            )
            if word not in test["result"] or test.get("explanation", explanation) != explanation:
                wrong.append((name, word, test["result"], explanation, test.get("explanation")))
    assert wrong == []


def test_suite_is_whole() -> None:
    assert sum(len(scenario["tests"]) for scenario in SUITE) == 203


def checked(
    record: str,
    *,
    ip: str = "192.0.2.7",
    sender: str = "<alice@example.com>",
    fault: Fault | None = None,
    **options: Any,
) -> SpfResult:
    envelope = f"S{sender}\nQQ1\nHclient.example.com\nI{ip}\nEhelo.example.com\nR<bob@example.org> ? ? ?\nF\n"
    message = Message(commands.decode(envelope.encode()), b"Subject: x\n\nx\n", "/nowhere", Settings())
    with DnsServer(f'{record}\nhelo.example.com TXT "v=spf1 ip4:192.0.2.7 -all"') as server:
        if fault is not None:
            server.faults["example.com"] = fault
        check = Spf(resolver=Resolver(server.address), receiver="mx.example.org", **options)
        return message.run_checks(check)[check]


@pytest.mark.parametrize(
    ("mechanism", "word", "outcome"),
    [
        ("ip4:192.0.2.0/24 -all", "pass", Outcome.NOT_FOUND),
        ("-all", "fail", Outcome.FOUND),
        ("~all", "softfail", Outcome.FOUND),
        ("?all", "neutral", Outcome.NOT_APPLICABLE),
        ("what -all", "permerror", Outcome.NOT_APPLICABLE),
    ],
)
def test_outcome_of_each_result(mechanism: str, word: str, outcome: Outcome) -> None:
    result = checked(f'example.com TXT "v=spf1 {mechanism}"')
    assert (result.word, result.outcome, result.domain, result.identity) == (word, outcome, "example.com", "mailfrom")
    assert word in result.detail
    assert json.loads(json.dumps(result.as_record()))["word"] == word


def test_domain_without_record_is_not_applicable() -> None:
    result = checked('example.com TXT "other"')
    assert (result.word, result.outcome) == ("none", Outcome.NOT_APPLICABLE)


def test_failure_of_the_dns_is_a_temperror_and_could_not_tell() -> None:
    result = checked("", fault=Fault.SERVFAIL, on_failure="ignore")
    assert (result.word, result.outcome) == ("temperror", Outcome.UNKNOWN)
    assert "SERVFAIL" in result.detail


def test_silence_of_the_dns_is_a_temperror_within_the_limit() -> None:
    result = checked("", fault=Fault.SILENT, timeout_s=0.3, on_failure="ignore")
    assert (result.word, result.outcome) == ("temperror", Outcome.UNKNOWN)


def test_null_sender_is_postmaster_at_the_helo() -> None:
    result = checked("", sender="<>")
    assert (result.word, result.identity, result.domain) == ("pass", "helo", "helo.example.com")


def test_helo_is_checked_if_that_is_wanted() -> None:
    result = checked('example.com TXT "v=spf1 -all"', identity="helo")
    assert (result.word, result.identity, result.domain) == ("pass", "helo", "helo.example.com")


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", ""])
def test_mail_of_this_host_is_not_checked(ip: str) -> None:
    assert checked('example.com TXT "v=spf1 -all"', ip=ip).outcome is Outcome.NOT_APPLICABLE


def test_identity_is_one_of_the_two() -> None:
    with pytest.raises(ValueError, match="helo"):
        Spf(identity="header")  # type: ignore[arg-type]


def test_record_may_be_longer_than_a_datagram() -> None:
    texts = " ".join(f'"ip4:198.51.100.{number} {" " * 200}"' for number in range(20))
    assert checked(f'example.com TXT "v=spf1 " {texts} "ip4:192.0.2.7 -all"').word == "pass"


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 exists:%{d2r" + ".-+,/_=" * 2000 + "} -all",
        "v=spf1 exists:" + "%{" * 8000,
        "v=spf1 exists:%{d" + "1" * 5000 + "r} -all",
        "V=SPF1 " + "a" * 60000,
        "v=spf1 " + "ip4:192.0.2.1 " * 4000 + "-all",
    ],
)
def test_record_that_would_take_very_long_is_a_permerror(record: str) -> None:
    started = time.process_time()
    result = checked(f"example.com TXT {in_strings(record)}")
    assert (result.word, result.outcome) == ("permerror", Outcome.NOT_APPLICABLE)
    assert time.process_time() - started < LONG_S


def in_strings(text: str) -> str:
    return " ".join(quoted(text[at : at + 255]) for at in range(0, len(text), 255))


FAILING = 'example.com TXT "v=spf1 exp=why.example.com -all"'


def test_long_texts_beside_a_record_are_passed_over_and_long_explanations_too() -> None:
    long = in_strings("x" * 50_000)
    result = checked(f"{FAILING}\nexample.com TXT {long}\nwhy.example.com TXT {long}")
    assert result.word == "fail"
    assert len(result.detail) < 600


def test_explanation_is_one_short_line_in_the_detail() -> None:
    text = in_strings("two\r\nlines\t%{s}")
    result = checked(f"{FAILING}\nwhy.example.com TXT {text}")
    assert result.detail == "fail for mailfrom example.com: two lines alice@example.com"
