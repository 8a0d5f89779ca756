# SPDX-License-Identifier: GPL-3.0-or-later
"""BIMI: which messages may have an indicator, and whose record tells it."""

from __future__ import annotations

import json

import pytest

from defang_worker.checks import Bimi, BimiResult, BimiWord, DkimKey, DkimSigner, DmarcWord, Outcome
from tests.worker.checks.auth.mail import PLAIN, message
from tests.worker.checks.auth.names import KnownNames
from tests.worker.checks.auth.vectors import RFC8463_ED25519_KEY, RFC8463_SEED

Texts = dict[str, str | list[str] | None]
IMAGE = "https://example.com/i.svg"
PROOF = "https://example.com/vmc.pem"
RECORD = f"v=BIMI1; l={IMAGE}; a={PROOF}"
AUTHENTIC: Texts = {"example.com": "v=spf1 ip4:192.0.2.7 -all", "_dmarc.example.com": "v=DMARC1; p=reject"}
SELECTED = b"BIMI-Selector: v=BIMI1; s=brand\n" + PLAIN


def names(more: Texts) -> KnownNames:
    return KnownNames({**AUTHENTIC, "default._bimi.example.com": RECORD, **more})


def scan(more: Texts | None = None, raw: bytes = PLAIN, sender: bytes = b"joe@example.com") -> BimiResult:
    check = Bimi(resolver=names(more or {}))
    return message(raw, sender).run_checks(check)[check]


def signed(raw: bytes, *fields: str, domain: str = "example.com") -> bytes:
    signer = DkimSigner(DkimKey(domain, "s", RFC8463_SEED), fields=("From", *fields), oversigned=("From",))
    return b"".join(b"DKIM-Signature: " + value.encode() + b"\n" for value in signer.signatures(raw)) + raw


def test_authentic_message_may_have_what_the_author_asserts() -> None:
    result = scan()
    assert (result.outcome, result.word, result.detail) == (
        Outcome.FOUND,
        BimiWord.PASS,
        "pass example.com: selector default of example.com",
    )
    assert (result.domain, result.selector) == ("example.com", "default")
    assert (result.location, result.authority) == (IMAGE, PROOF)
    assert result.dmarc is not None
    assert result.dmarc.word is DmarcWord.PASS


# Which messages


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("v=DMARC1; p=none", "asks for nothing"),
        ("v=DMARC1; p=quarantine; pct=99", "not for all mail"),
        ("v=DMARC1; p=reject; pct=0", "not for all mail"),
        ("v=DMARC1; p=reject; t=y", "not for all mail"),
        ("v=DMARC1; p=reject; sp=none", "nothing below it"),
        ([], "DMARC none"),
    ],
)
def test_domain_that_does_not_enforce_dmarc_has_no_indicator(policy: str | list[str], reason: str) -> None:
    result = scan({"_dmarc.example.com": policy})
    assert (result.outcome, result.word) == (Outcome.NOT_APPLICABLE, BimiWord.SKIPPED)
    assert reason in result.detail
    assert (result.location, result.domain) == ("", "")


@pytest.mark.parametrize("policy", ["v=DMARC1; p=quarantine", "v=DMARC1; p=quarantine; pct=100; sp=reject"])
def test_quarantine_is_enough(policy: str) -> None:
    assert scan({"_dmarc.example.com": policy}).word is BimiWord.PASS


def test_message_that_fails_dmarc_is_skipped_and_no_record_is_looked_for() -> None:
    check = Bimi(resolver=(known := names({})))
    result = message(PLAIN, b"a@other.example").run_checks(check)[check]
    assert (result.word, result.detail) == (BimiWord.SKIPPED, "skipped example.com: DMARC fail")
    assert not any("_bimi" in name for asked in known.rounds for name in asked)


@pytest.mark.parametrize(
    "author",
    [
        b"From: Joe <joe@example.com>, Ann <ann@example.com>",
        b"From: Joe <joe@example.com>\nFrom: Joe <joe@example.com>",
        b"From: Joe <joe@example.com>, Ann <ann@example.net>",
        b"From: nobody",
    ],
)
def test_message_of_several_authors_or_none_is_skipped(author: bytes) -> None:
    assert scan(raw=PLAIN.replace(b"From: Joe <joe@example.com>", author)).word is BimiWord.SKIPPED


def test_policy_of_the_organization_counts_beside_that_of_the_author() -> None:
    raw, sender = PLAIN.replace(b"joe@example.com", b"joe@news.example.com"), b"joe@news.example.com"
    texts: Texts = {
        "news.example.com": "v=spf1 ip4:192.0.2.7 -all",
        "_dmarc.news.example.com": "v=DMARC1; p=reject",
    }
    assert scan(texts, raw, sender).word is BimiWord.PASS
    texts["_dmarc.example.com"] = "v=DMARC1; p=none"
    assert scan(texts, raw, sender).word is BimiWord.SKIPPED


@pytest.mark.parametrize("name", ["_dmarc.example.com", "default._bimi.example.com"])
def test_nameserver_that_does_not_answer_could_not_tell(name: str) -> None:
    result = scan({name: None})
    assert (result.outcome, result.word) == (Outcome.UNKNOWN, BimiWord.TEMPERROR)


# Which record


@pytest.mark.parametrize(
    ("record", "word", "reason"),
    [
        ([], BimiWord.NONE, "no record"),
        ("v=spf1 -all", BimiWord.NONE, "no record"),
        ("v=BIMI1; l=; a=", BimiWord.DECLINED, "selector default"),
        ([RECORD, RECORD], BimiWord.FAIL, "several records"),
        ("v=BIMI1; l=http://example.com/i.svg", BimiWord.FAIL, "not by HTTPS"),
        ([RECORD, "another text"], BimiWord.PASS, "selector default"),
        ("v=BIMI1; l=; a=" + PROOF, BimiWord.PASS, "selector default"),
    ],
)
def test_record_tells(record: str | list[str], word: BimiWord, reason: str) -> None:
    result = scan({"default._bimi.example.com": record})
    assert result.word is word
    assert reason in result.detail
    assert result.is_found is (word is BimiWord.PASS)
    assert word is BimiWord.PASS or result.outcome is Outcome.NOT_FOUND


def test_author_below_an_organization_falls_back_to_its_default_record_alone() -> None:
    raw, sender = PLAIN.replace(b"joe@example.com", b"joe@news.example.com"), b"joe@news.example.com"
    texts: Texts = {"news.example.com": "v=spf1 ip4:192.0.2.7 -all"}
    result = scan(texts, raw, sender)
    assert (result.word, result.domain, result.selector) == (BimiWord.PASS, "example.com", "default")
    texts["default._bimi.news.example.com"] = "v=BIMI1; l=https://example.com/news.svg"
    assert scan(texts, raw, sender).location == "https://example.com/news.svg"
    texts["default._bimi.news.example.com"] = "v=BIMI1; l="
    assert scan(texts, raw, sender).word is BimiWord.DECLINED


def test_selector_counts_if_the_authors_signature_is_for_it() -> None:
    texts: Texts = {
        "s._domainkey.example.com": RFC8463_ED25519_KEY,
        "brand._bimi.example.com": "v=BIMI1; l=https://example.com/brand.svg",
    }
    result = scan(texts, signed(SELECTED, "BIMI-Selector"))
    assert (result.selector, result.location) == ("brand", "https://example.com/brand.svg")
    assert scan(texts, signed(SELECTED)).selector == "default"
    assert scan(texts, SELECTED).selector == "default"


def test_selector_of_a_strangers_signature_or_beside_a_second_one_does_not_count() -> None:
    texts: Texts = {
        "s._domainkey.example.com": RFC8463_ED25519_KEY,
        "s._domainkey.other.example": RFC8463_ED25519_KEY,
        "brand._bimi.example.com": RECORD,
    }
    stranger = signed(SELECTED, "BIMI-Selector", domain="other.example")
    assert scan(texts, signed(stranger, "Subject")).selector == "default"
    assert scan(texts, b"BIMI-Selector: v=BIMI1; s=x\n" + signed(SELECTED, "BIMI-Selector")).selector == "default"


def test_selector_without_a_record_falls_back_to_the_default_one() -> None:
    texts: Texts = {"s._domainkey.example.com": RFC8463_ED25519_KEY}
    result = scan(texts, signed(SELECTED, "BIMI-Selector"))
    assert (result.word, result.selector) == (BimiWord.PASS, "default")
    texts["default._bimi.example.com"] = []
    result = scan(texts, signed(SELECTED, "BIMI-Selector"))
    assert (result.word, result.selector) == (BimiWord.NONE, "brand")


def test_record_and_policies_are_asked_for_at_once() -> None:
    check = Bimi(resolver=(known := names({})))
    message(PLAIN).run_checks(check)
    assert known.rounds[-1] == ["default._bimi.example.com", "_dmarc.example.com"]


# What is told


def test_authentication_results_have_it_behind_dmarc() -> None:
    mail = message(PLAIN)
    check = Bimi(resolver=names({}))
    mail.add_authentication_results(mail.run_checks(check)[check])
    (field,) = mail.headers.all("Authentication-Results")
    assert "dmarc=pass" in field
    assert " ".join(field.split()).endswith(
        "bimi=pass (by the record alone) header.d=example.com header.selector=default policy.authority=none"
        f' policy.authority-uri="{PROOF}" policy.indicator-uri="{IMAGE}"'
    )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"default._bimi.example.com": []}, "bimi=none (no record) header.d=example.com header.selector=default"),
        ({"_dmarc.example.com": "v=DMARC1; p=none"}, "bimi=skipped (the domain's DMARC policy asks for nothing)"),
        ({"default._bimi.example.com": None}, "bimi=temperror (no answer in time)"),
    ],
)
def test_authentication_results_have_the_reason(more: Texts, expected: str) -> None:
    mail = message(PLAIN)
    check = Bimi(resolver=names(more))
    mail.add_authentication_results(mail.run_checks(check)[check])
    assert mail.headers.all("Authentication-Results")[0].endswith(expected)


def test_fields_of_receiving_sites_are_deleted() -> None:
    forged = (
        b"BIMI-Location: v=BIMI1; l=x\nbimi-indicator: PHN2Zz4=\nBIMI-Indicator: x\nBIMI-Logo-Preference: avp=brand\n"
    )
    mail = message(forged + SELECTED)
    Bimi.remove_forged(mail)
    assert [name for name, _ in mail.headers if name.lower().startswith("bimi-")] == ["BIMI-Selector"]


def test_result_stands_in_the_record_without_the_names_of_signed_fields() -> None:
    texts: Texts = {"s._domainkey.example.com": RFC8463_ED25519_KEY}
    told = json.loads(json.dumps(scan(texts, signed(PLAIN, "Subject")).as_record()))
    assert (told["word"], told["location"], told["dmarc"]["word"]) == ("pass", IMAGE, "pass")
    assert "signed_fields" not in told["dmarc"]["dkim"]["signatures"][0]
