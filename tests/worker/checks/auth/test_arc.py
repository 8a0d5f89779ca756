# SPDX-License-Identifier: GPL-3.0-or-later
"""ARC: chains that others and we have made are verified, by every rule of RFC 8617."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.checks import (
    Arc,
    ArcResult,
    ArcSealer,
    ArcWord,
    Outcome,
    Resolver,
)
from tests.support.dns_server import DnsServer, Fault
from tests.worker.checks.auth.mail import PLAIN, message, rsa_key
from tests.worker.checks.auth.names import KnownNames
from tests.worker.checks.auth.sealed_mail import (
    RESULTS,
    Texts,
    dkimpys_word,
    edited,
    key_of,
    keys,
    of_hosts,
    of_hosts_once,
    replacing,
    resigned,
    scan,
    sealed,
    sealed_by_dkimpy,
    site,
)
from tests.worker.checks.auth.vectors import RFC8463_ED25519_KEY

# Chains that hold


def test_message_that_nobody_sealed_has_no_chain_and_nobody_is_asked() -> None:
    names = KnownNames()
    check = Arc(resolver=names)
    result = message().run_checks(check)[check]
    assert (result.outcome, result.word, result.domains) == (Outcome.NOT_APPLICABLE, ArcWord.NONE, ())
    assert names.rounds == []


MIME = b"MIME-Version: 1.0\nContent-Type: text/plain;\n charset=utf-8\nReply-To: x@example.com\n" + PLAIN


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("raw", [PLAIN, MIME, b"From: a@example.com\n\n", b"From: a@example.com\n"])
def test_our_chain_holds_here_and_with_dkimpy(count: int, raw: bytes) -> None:
    chain = of_hosts(count, raw)
    result = scan(chain)
    assert (result.outcome, result.word, result.oldest_pass) == (Outcome.NOT_FOUND, ArcWord.PASS, 0)
    assert result.domains == ("d1.example", "d2.example", "d3.example")[:count]
    assert dkimpys_word(chain) == b"pass"
    assert scan(chain.replace(b"\n", b"\r\n")).word is ArcWord.PASS


def test_chain_of_dkimpy_holds_here_and_can_be_continued() -> None:
    first = sealed_by_dkimpy(PLAIN, "d1.example")
    assert scan(first).word is ArcWord.PASS
    second = sealed_by_dkimpy(first, "d2.example", "pass")
    third = sealed(second, "d3.example")
    assert scan(third).domains == ("d1.example", "d2.example", "d3.example")
    assert dkimpys_word(third) == b"pass"


def test_numbers_tell_the_order_of_the_fields_not_their_places() -> None:
    raw = of_hosts(3)
    header, _, body = raw.partition(b"From: ")
    fields = re.findall(rb"ARC-.*\n(?:[ \t].*\n)*", header)
    assert len(fields) == 9
    for order in (sorted(fields), fields[::-1], fields[4:] + fields[:4]):
        assert scan(b"".join(order) + b"From: " + body).word is ArcWord.PASS


def test_seal_tells_what_its_host_found() -> None:
    (one,) = scan(of_hosts(1)).seals
    assert (one.instance, one.domain, one.selector, one.authserv_id) == (1, "d1.example", "arc", "lists.example.org")
    assert [(found.method, found.result, found.properties) for found in one.results] == [
        ("spf", "pass", (("smtp.mailfrom", "joe@example.com"),)),
        ("dmarc", "pass", (("header.from", "example.com"),)),
    ]
    assert scan(sealed(PLAIN, "d1.example", "what? = no results")).seals[0].results == ()


def test_what_a_later_host_changed_shows_in_the_oldest_signature_that_holds() -> None:
    changed = sealed(of_hosts(1).replace(b"Hi.", b"Hi all."), "d2.example", chain=scan(of_hosts(1)))
    result = scan(changed)
    assert (result.word, result.oldest_pass) == (ArcWord.PASS, 2)
    third = scan(sealed(changed, "d3.example"))
    assert (third.word, third.oldest_pass) == (ArcWord.PASS, 2)


def test_ed25519_signature_is_verified() -> None:
    """Few would: but RFC 8463 adds the algorithm to all that DKIM's are used for."""
    ours = b"a=rsa-sha256; d=d1.example; s=arc"
    raw = resigned(of_hosts(1), b"ARC-Seal", replacing(ours, b"a=ed25519-sha256; d=d1.example; s=ed"))
    texts = keys("d1.example") | {"ed._domainkey.d1.example": RFC8463_ED25519_KEY}
    assert scan(raw, texts).word is ArcWord.PASS
    wrong = edited(raw, b"ARC-Authentication-Results", replacing(b"dmarc=pass", b"dmarc=fail"))
    assert scan(wrong, texts).reason == "ARC-Seal 1: the signature does not match"


def test_fifty_sets_are_a_chain_and_no_more_can_be_added() -> None:
    raw, chain = PLAIN, ArcResult(check="arc", outcome=Outcome.NOT_APPLICABLE, word=ArcWord.NONE)
    for count in range(1, 51):
        raw = sealed(raw, "d1.example", chain=chain)
        seals = chain.seals + (scan(of_hosts(1)).seals if count == 1 else chain.seals[:1])
        chain = ArcResult(check="arc", outcome=Outcome.NOT_FOUND, word=ArcWord.PASS, seals=seals)
    assert raw.count(b"ARC-Seal: ") == 50
    found = scan(raw)
    assert (found.word, len(found.seals)) == (ArcWord.PASS, 50)
    assert ArcSealer(key_of("d2.example")).header_fields(raw, RESULTS, found) == []
    assert scan(raw.replace(b" i=50;", b" i=51;")).reason == "ARC-Seal without a usable i="


# Chains that do not


@pytest.mark.parametrize("name", [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"])
@pytest.mark.parametrize("nth", [0, 1])
def test_set_needs_one_of_each_field(name: bytes, nth: int) -> None:
    raw = of_hosts(2)
    number = 2 - nth
    reason = f"set {number} has not one of each field"
    assert scan(edited(raw, name, lambda _: b"", nth)).reason == reason
    assert scan(edited(raw, name, lambda field: field + field, nth)).reason == reason


def test_gap_between_sets_breaks_the_chain() -> None:
    raw = of_hosts(3)
    for name in (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"):
        raw = edited(raw, name, lambda _: b"", 1)
    assert scan(raw).reason == "set 2 has not one of each field"


@pytest.mark.parametrize("name", [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"])
@pytest.mark.parametrize("number", [b"0", b"51", b"-1", b"1a", b"", b"one", b"100", b"1 2", b"9" * 5000])
def test_number_of_a_set_is_from_1_to_50(name: bytes, number: bytes) -> None:
    broken = edited(of_hosts(1), name, replacing(b"i=1;", b"i=%b;" % number))
    assert scan(broken).reason == f"{name.decode()} without a usable i="


@pytest.mark.parametrize(
    "field",
    [b"ARC-Seal: nothing\n", b"ARC-Message-Signature: i=1; i=1; a=b\n", b"ARC-Authentication-Results: x; i=1\n"],
)
def test_field_without_a_number_breaks_the_chain(field: bytes) -> None:
    assert scan(field + of_hosts(1)).reason.endswith("without a usable i=")


@pytest.mark.parametrize("written", [b"I=1;", b"i = 1 ;", b"i=01;", b"(c) i(c)=(c)1(c);"])
def test_number_of_results_is_read_by_its_grammar(written: bytes) -> None:
    raw = edited(of_hosts(1), b"ARC-Authentication-Results", replacing(b"i=1;", written))
    # The tag is one of small letters; a field that reads as number 1 only lacks a seal that fits.
    reason = "ARC-Seal 1: the signature does not match"
    if written.startswith(b"I"):
        reason = "ARC-Authentication-Results without a usable i="
    assert scan(raw).reason == reason


@pytest.mark.parametrize(
    ("count", "old", "new"),
    [
        (1, b"cv=none", b"cv=pass"),
        (2, b"cv=pass", b"cv=none"),
        (1, b"cv=none; ", b""),
        (2, b"cv=pass", b"cv=whatever"),
    ],
)
def test_seal_with_the_wrong_status_breaks_the_chain_though_its_signature_holds(
    count: int, old: bytes, new: bytes
) -> None:
    raw = of_hosts(count)
    assert scan(resigned(raw, b"ARC-Seal", lambda field: field)).word is ArcWord.PASS
    assert scan(resigned(raw, b"ARC-Seal", replacing(old, new))).reason == f"ARC-Seal {count} has the wrong cv="


def test_seal_that_says_fail_ends_the_chain() -> None:
    raw = resigned(of_hosts(2), b"ARC-Seal", replacing(b"cv=pass", b"cv=fail"))
    assert scan(raw).reason == "an earlier host found the chain broken"
    assert ArcSealer(key_of("d3.example")).header_fields(raw, RESULTS, scan(raw)) == []


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        (b"h=from", "ARC-Seal 1: it has h="),
        (b"t=abc", "ARC-Seal 1: t= is no number"),
        (b"bh=AAAA", ""),
        (b"l=0", ""),
        (b"x=1", ""),
        (b"c=simple/simple", ""),
        (b"v=2", ""),
        (b"foo=bar", ""),
    ],
)
def test_seal_has_its_own_tags_and_others_mean_nothing(tag: bytes, reason: str) -> None:
    def edit(field: bytes) -> bytes:
        field = re.sub(rb" t=\d+;", b"", field) if tag.startswith(b"t") else field
        return field.replace(b"cv=none;", b"cv=none; %b;" % tag)

    assert scan(resigned(of_hosts(1), b"ARC-Seal", edit)).reason == reason


@pytest.mark.parametrize("tag", [b"v=1", b"v=2", b"foo=bar"])
def test_version_of_a_message_signature_means_nothing(tag: bytes) -> None:
    raw = resigned(of_hosts(1), b"ARC-Message-Signature", lambda field: field.replace(b"i=1;", b"i=1; %b;" % tag))
    assert scan(resigned(raw, b"ARC-Seal", lambda field: field)).word is ArcWord.PASS


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"h=from : from :", b"h=", "From is not signed"),
        (b"h=from :", b"h=from : arc-seal :", "it signs ARC-Seal"),
        (b"a=rsa-sha256", b"a=rsa-sha1", "signed by SHA-1"),
        (b"a=rsa-sha256; ", b"", "missing b'a'="),
        (b"d=d1.example; ", b"", "missing b'd'="),
        (b"i=1;", b"i=1; x=1000;", "the signature has expired"),
        (b"i=1;", b"i=1; l=4000;", "more was signed than there is"),
        (b"c=relaxed/relaxed", b"c=loose/relaxed", "unknown canonicalization"),
    ],
)
def test_message_signature_is_held_to_the_rules_of_dkim(old: bytes, new: bytes, reason: str) -> None:
    raw = edited(of_hosts(1), b"ARC-Message-Signature", replacing(old, new))
    assert scan(raw).reason == f"ARC-Message-Signature 1: {reason}"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda raw: raw.replace(b"Hi.", b"Ho."), "ARC-Message-Signature 2: the body was changed"),
        (lambda raw: raw.replace(b" hello", b" x"), "ARC-Message-Signature 2: the signature does not match"),
        (lambda raw: b"Subject: new\n" + raw, "ARC-Message-Signature 2: the signature does not match"),
        (lambda raw: b"From: b@example.net\n" + raw, "ARC-Message-Signature 2: the signature does not match"),
        (
            lambda raw: edited(raw, b"ARC-Authentication-Results", replacing(b"dmarc=pass", b"dmarc=fail"), 1),
            "ARC-Seal 2: the signature does not match",
        ),
        (
            lambda raw: edited(raw, b"ARC-Authentication-Results", replacing(b"dmarc=pass", b"dmarc=fail")),
            "ARC-Seal 2: the signature does not match",
        ),
        (
            lambda raw: edited(raw, b"ARC-Seal", replacing(b"cv=none", b"cv=NONE"), 1),
            "ARC-Seal 2: the signature does not match",
        ),
    ],
)  # fmt: skip
def test_what_is_changed_behind_the_last_seal_breaks_the_chain(edit: Callable[[bytes], bytes], reason: str) -> None:
    result = scan(edit(of_hosts(2)))
    assert (result.outcome, result.word, result.reason) == (Outcome.FOUND, ArcWord.FAIL, reason)
    assert result.domains == ()
    assert [one.domain for one in result.seals] == ["d1.example", "d2.example"]


def test_first_seal_has_to_hold_though_all_later_ones_do() -> None:
    """A host that seals over what it knows to be broken."""
    raw = edited(of_hosts(1), b"ARC-Authentication-Results", replacing(b"dmarc=pass", b"dmarc=fail"))
    assert scan(sealed(raw, "d2.example", chain=scan(of_hosts(1)))).reason == "ARC-Seal 1: the signature does not match"


# Keys


@pytest.mark.parametrize(
    ("record", "reason", "outcome"),
    [
        ([], "no key", Outcome.FOUND),
        ("v=DKIM1; p=", "the key is revoked", Outcome.FOUND),
        (None, "no key: no answer in time", Outcome.UNKNOWN),
        ("v=DKIM1; s=other; p=AAAA", "the key is not for mail", Outcome.FOUND),
    ],
)
def test_key_that_cannot_be_used_breaks_the_chain(
    record: str | list[str] | None, reason: str, outcome: Outcome
) -> None:
    raw = of_hosts(2)
    last = scan(raw, keys("d1.example") | {"arc._domainkey.d2.example": record})
    assert (last.word, last.outcome, last.reason) == (ArcWord.FAIL, outcome, f"ARC-Message-Signature 2: {reason}")
    first = scan(raw, keys("d2.example") | {"arc._domainkey.d1.example": record})
    assert (first.word, first.outcome, first.reason) == (ArcWord.FAIL, outcome, f"ARC-Seal 1: {reason}")


def test_small_key_is_not_relied_on() -> None:
    names = keys("d1.example") | {"arc._domainkey.d1.example": rsa_key(768)[1]}
    assert scan(of_hosts(1), names).word is ArcWord.FAIL


def test_keys_of_earlier_sets_are_asked_for_together_and_only_if_the_last_one_holds() -> None:
    names = KnownNames(keys("d1.example", "d2.example", "d3.example"))
    check = Arc(resolver=names)
    mail = message(of_hosts(3))
    mail.run_checks(check)
    last, earlier = ["arc._domainkey.d3.example"], ["arc._domainkey.d1.example", "arc._domainkey.d2.example"]
    assert names.rounds == [last, earlier]
    names.rounds.clear()
    message(of_hosts(3).replace(b"Hi.", b"Ho.")).run_checks(check)
    assert names.rounds == [last]


def test_nameserver_that_is_silent_leaves_it_open() -> None:
    quoted = " ".join(f'"{rsa_key()[1][at : at + 200]}"' for at in range(0, len(rsa_key()[1]), 200))
    with DnsServer(f"arc._domainkey.d1.example TXT {quoted}") as server:
        check = Arc(resolver=Resolver(server.address))
        assert message(of_hosts(1)).run_checks(check)[check].word is ArcWord.PASS
        server.faults["arc._domainkey.d2.example"] = Fault.SILENT
        late = Arc(resolver=Resolver(server.address), timeout_s=0.2, on_failure="ignore")
        mail = message(of_hosts(2))
        result = mail.run_checks(late)[late]
        assert (result.outcome, result.word) == (Outcome.UNKNOWN, ArcWord.FAIL)
        assert not ArcSealer(key_of("d3.example")).seal(mail, result)
        assert len(mail.headers.all("ARC-Seal")) == 2


@given(st.binary(max_size=200), st.integers(0, 5), st.integers(0, 400))
def test_no_field_breaks_the_check(junk: bytes, nth: int, at: int) -> None:
    clean = junk.replace(b"\n", b"").replace(b"\r", b"")
    names = (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results")
    raw = edited(of_hosts_once(), names[nth % 3], lambda field: field[:at].rstrip(b"\n") + clean + field[at:], nth // 3)
    assert scan(raw).outcome in (Outcome.FOUND, Outcome.NOT_FOUND, Outcome.NOT_APPLICABLE)


# What it means


def told(raw: bytes, texts: Texts | None = None) -> str:
    mail = site(raw)
    arc = Arc(resolver=KnownNames(texts or keys("d1.example", "d2.example")), on_failure="ignore")
    mail.add_authentication_results(mail.run_checks(arc)[arc])
    return (mail.headers.get("Authentication-Results") or "").removeprefix("mx.example.org; ")


def test_chain_is_told_in_authentication_results() -> None:
    assert told(PLAIN) == "arc=none"
    passed = "arc=pass (i=2 by d2.example) smtp.remote-ip=192.0.2.7 header.oldest-pass=0"
    assert told(of_hosts(2)) == passed
    assert told(b"ARC-Seal: x\n" + PLAIN) == 'arc=fail reason="ARC-Seal without a usable i="'
    assert told(of_hosts(1), {"arc._domainkey.d1.example": None}).startswith("arc=fail reason=")


def test_trusted_hosts_vouch_for_what_the_first_of_them_found() -> None:
    result = scan(of_hosts(2))
    both = ("d1.example", "D2.example")
    assert result.vouches("Example.com", both)
    assert not result.vouches("example.net", both)
    assert not result.vouches("example.com", ("d1.example",))
    assert not result.vouches("example.com", ())
    assert not scan(of_hosts(2).replace(b"Hi.", b"Ho.")).vouches("example.com", both)
    failed = sealed(PLAIN, "d1.example", "lists.example.org; dmarc=fail header.from=example.com")
    assert not scan(failed).vouches("example.com", both)
    two = sealed(PLAIN, "d1.example", "x.example; dmarc=pass header.from=example.com header.from=example.net")
    assert not scan(two).vouches("example.com", both)
    commented = sealed(PLAIN, "d1.example", "x.example; dmarc=fail (; dmarc=pass header.from=example.com)")
    assert not scan(commented).vouches("example.com", both)


def test_result_stands_in_the_record_as_json() -> None:
    record = json.loads(json.dumps(scan(of_hosts(1)).as_record()))
    assert record["word"] == "pass"
    assert record["seals"] == [
        {"instance": 1, "domain": "d1.example", "selector": "arc", "results": ["spf=pass", "dmarc=pass"]}
    ]
