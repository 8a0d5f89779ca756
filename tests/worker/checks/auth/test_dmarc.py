# SPDX-License-Identifier: GPL-3.0-or-later
"""DMARC: whose policy counts, what aligns, and what is to be done."""

from __future__ import annotations

import json
import time

import pytest

from defang_worker.checks import DkimKey, DkimSigner, Dmarc, DmarcPolicy, DmarcResult, DmarcWord, Outcome, Resolver
from defang_worker.checks.auth.author import author_domain
from defang_worker.checks.auth.dmarc_record import Record, Walk, names_of_walk
from tests.support.dns_server import DnsServer, Fault
from tests.worker.checks.auth.mail import PLAIN, message
from tests.worker.checks.auth.names import KnownNames
from tests.worker.checks.auth.vectors import RFC8463_ED25519_KEY, RFC8463_SEED

# Of the processor: a tenth of it is plenty, and with time squared it would be minutes.
LONG_S = 10.0
Texts = dict[str, str | list[str] | None]
SPF = "v=spf1 ip4:192.0.2.7 -all"
REJECT = "v=DMARC1; p=reject"


def mail_from(author: str) -> bytes:
    return PLAIN.replace(b"joe@example.com", f"joe@{author}".encode())


def signed(author: str, domain: str) -> bytes:
    (value,) = DkimSigner(DkimKey(domain, "s", RFC8463_SEED)).signatures(mail_from(author))
    return b"DKIM-Signature: " + value.encode() + b"\n" + mail_from(author)


def scan(
    texts: Texts, raw: bytes = PLAIN, sender: bytes = b"bounce@other.example", absent: tuple[str, ...] = ()
) -> DmarcResult:
    names = KnownNames(texts)
    names.absent.update(absent)
    check = Dmarc(resolver=names)
    return message(raw, sender).run_checks(check)[check]


# Whose record


@pytest.mark.parametrize(
    ("domain", "names"),
    [
        ("example.com", ["example.com", "com"]),
        (
            "a.b.c.d.e.f.g.h",
            ["a.b.c.d.e.f.g.h", "b.c.d.e.f.g.h", *["c.d.e.f.g.h", "d.e.f.g.h", "e.f.g.h", "f.g.h", "g.h", "h"]],
        ),
        (
            "a.b.c.d.e.f.g.h.i.j.mail.example.com",
            [
                "a.b.c.d.e.f.g.h.i.j.mail.example.com",
                *("g.h.i.j.mail.example.com", "h.i.j.mail.example.com", "i.j.mail.example.com", "j.mail.example.com"),
                *("mail.example.com", "example.com", "com"),
            ],
        ),
    ],
)
def test_walk_asks_for_eight_names_at_most(domain: str, names: list[str]) -> None:
    assert names_of_walk(domain) == names


@pytest.mark.parametrize(
    ("records", "organization", "policy_domain"),
    [
        ({}, "a.mail.example.com", None),
        ({"example.com": ""}, "example.com", "example.com"),
        ({"mail.example.com": "", "example.com": ""}, "example.com", "example.com"),
        ({"a.mail.example.com": "", "example.com": ""}, "example.com", "a.mail.example.com"),
        ({"mail.example.com": "psd=n", "example.com": ""}, "mail.example.com", "mail.example.com"),
        ({"com": "psd=y"}, "example.com", "com"),
        ({"example.com": "", "com": "psd=y"}, "example.com", "example.com"),
        ({"example.com": "psd=y", "com": ""}, "mail.example.com", "example.com"),
        ({"a.mail.example.com": "psd=y", "example.com": ""}, "a.mail.example.com", "a.mail.example.com"),
    ],
)
def test_organization_is_told_by_the_records(
    records: dict[str, str], organization: str, policy_domain: str | None
) -> None:
    domain = "a.mail.example.com"
    found = [
        (name, Record.of([f"v=DMARC1; p=none; {records[name]}".encode()]) if name in records else None)
        for name in names_of_walk(domain)
    ]
    walk = Walk.of(domain, found)
    assert walk.organization == organization
    assert (walk.policy and walk.policy[0]) == policy_domain


@pytest.mark.parametrize(
    "texts", [[], [b"v=spf1 -all"], [b"v=DMARC2; p=reject"], [b"p=reject; v=DMARC1"], [REJECT.encode()] * 2]
)
def test_what_is_no_single_record_is_none(texts: list[bytes]) -> None:
    assert Record.of(texts) is None


def test_tags_of_a_record_are_read() -> None:
    record = Record.of(
        [b"something", b"v=DMARC1;P = Quarantine ; sp=reject; np=bad; adkim=s; aspf=s; t=y; psd=n; new=1"]
    )
    assert record == Record(
        policy=DmarcPolicy.QUARANTINE,
        subdomain_policy=DmarcPolicy.REJECT,
        absent_policy=DmarcPolicy.NONE,
        is_spf_strict=True,
        is_dkim_strict=True,
        is_testing=True,
        psd="n",
    )
    assert Record.of([b"v=DMARC1; rua=mailto:a@example.com"]) == Record()


# What aligns


@pytest.mark.parametrize(
    ("sender", "tags", "expected"),
    [
        (b"joe@example.com", "", DmarcWord.PASS),
        (b"joe@bounce.example.com", "", DmarcWord.PASS),
        (b"joe@bounce.example.com", "; aspf=s", DmarcWord.FAIL),
        (b"joe@notexample.com", "", DmarcWord.FAIL),
        (b"joe@own.example.com", "", DmarcWord.FAIL),
    ],
)
def test_spf_aligns_by_organization_or_strictly(sender: bytes, tags: str, expected: DmarcWord) -> None:
    domain = sender.partition(b"@")[2].decode()
    texts: Texts = {
        "_dmarc.example.com": REJECT + tags,
        "_dmarc.own.example.com": "v=DMARC1; p=none; psd=n",
        domain: SPF,
    }
    result = scan(texts, sender=sender)
    assert (result.word, result.is_spf_aligned) == (expected, expected is DmarcWord.PASS)
    assert result.spf is not None
    assert result.spf.word == "pass"


@pytest.mark.parametrize(
    ("author", "signer", "tags", "expected"),
    [
        ("example.com", "example.com", "; adkim=s", DmarcWord.PASS),
        ("example.com", "mail.example.com", "", DmarcWord.PASS),
        ("news.example.com", "mail.example.com", "", DmarcWord.PASS),
        ("example.com", "mail.example.com", "; adkim=s", DmarcWord.FAIL),
        ("example.com", "example.net", "", DmarcWord.FAIL),
    ],
)
def test_dkim_aligns_by_organization_or_strictly(author: str, signer: str, tags: str, expected: DmarcWord) -> None:
    texts: Texts = {"_dmarc.example.com": REJECT + tags, f"s._domainkey.{signer}": RFC8463_ED25519_KEY}
    result = scan(texts, signed(author, signer))
    assert (result.word, result.is_dkim_aligned) == (expected, expected is DmarcWord.PASS)
    assert result.dkim is not None
    assert result.dkim.word == "pass"


def test_public_suffix_makes_no_organization_of_its_customers() -> None:
    texts: Texts = {"_dmarc.co.example": "v=DMARC1; p=reject; psd=y", "s._domainkey.b.co.example": RFC8463_ED25519_KEY}
    result = scan(texts, signed("a.co.example", "b.co.example"))
    assert (result.word, result.organization, result.policy_domain) == (DmarcWord.FAIL, "a.co.example", "co.example")


# What is to be done


@pytest.mark.parametrize(
    ("record", "author", "policy", "disposition"),
    [
        (REJECT, "example.com", "reject", "reject"),
        ("v=DMARC1; p=quarantine", "example.com", "quarantine", "quarantine"),
        ("v=DMARC1; p=none; sp=reject", "example.com", "none", "none"),
        ("v=DMARC1; p=none; sp=reject", "sub.example.com", "reject", "reject"),
        (REJECT, "sub.example.com", "reject", "reject"),
        ("v=DMARC1; p=none; np=reject", "sub.example.com", "none", "none"),
        ("v=DMARC1; p=none; np=reject", "absent.example.com", "reject", "reject"),
        ("v=DMARC1; p=none; sp=quarantine", "absent.example.com", "quarantine", "quarantine"),
        ("v=DMARC1; p=reject; t=y", "example.com", "reject", "quarantine"),
        ("v=DMARC1; p=quarantine; t=y", "example.com", "quarantine", "none"),
        ("v=DMARC1; p=banana", "example.com", "none", "none"),
    ],
)
def test_policy_and_disposition_of_mail_that_fails(record: str, author: str, policy: str, disposition: str) -> None:
    result = scan({"_dmarc.example.com": record}, mail_from(author), absent=("absent.example.com",))
    assert (result.word, result.outcome) == (DmarcWord.FAIL, Outcome.FOUND)
    assert (result.policy, result.disposition, result.policy_domain) == (policy, disposition, "example.com")


def test_mail_that_passes_has_no_disposition() -> None:
    result = scan({"_dmarc.example.com": REJECT, "example.com": SPF}, sender=b"joe@example.com")
    assert (result.outcome, result.policy, result.disposition) == (Outcome.NOT_FOUND, "reject", "none")


def test_domain_without_a_record_has_no_policy() -> None:
    result = scan({})
    assert (result.word, result.outcome, result.disposition) == (DmarcWord.NONE, Outcome.NOT_APPLICABLE, "none")


# What cannot be told


@pytest.mark.parametrize(
    ("texts", "sender"),
    [
        ({"_dmarc.example.com": None}, b"a@example.net"),
        ({"_dmarc.com": None, "_dmarc.example.com": REJECT}, b"a@example.net"),
        ({"_dmarc.example.com": REJECT, "example.com": None}, b"a@example.com"),
        ({"_dmarc.example.com": REJECT, "sub.example.com": SPF, "_dmarc.sub.example.com": None}, b"a@sub.example.com"),
    ],
    ids=["no policy", "half a walk", "SPF", "the other's organization"],
)
def test_silent_nameserver_is_a_temporary_error(texts: Texts, sender: bytes) -> None:
    result = scan(texts, sender=sender)
    assert (result.word, result.outcome) == (DmarcWord.TEMPERROR, Outcome.UNKNOWN)


def test_key_that_cannot_be_had_is_one_only_where_it_would_matter() -> None:
    texts: Texts = {"_dmarc.example.com": REJECT, "s._domainkey.example.com": None}
    assert scan(texts, signed("example.com", "example.com")).word is DmarcWord.TEMPERROR
    texts |= {"example.com": SPF}
    assert scan(texts, signed("example.com", "example.com"), b"a@example.com").word is DmarcWord.PASS
    texts = {"_dmarc.example.com": REJECT, "s._domainkey.example.net": None}
    assert scan(texts, signed("example.com", "example.net")).word is DmarcWord.FAIL


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"From: a@example.com\nFrom: b@example.com\n",
        b"From: a@example.com, b@example.net\n",
        b"From: nobody\n",
        b"From: a@\n",
        b"From: a@[192.0.2.1]\n",
        b"From: a@exa..mple\n",
    ],
)
def test_author_who_cannot_be_told_is_a_permanent_error(header: bytes) -> None:
    result = scan({"_dmarc.example.com": REJECT}, header + b"Subject: x\n\nHi\n")
    assert (result.word, result.outcome, result.domain) == (DmarcWord.PERMERROR, Outcome.FOUND, "")


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (b" Joe <joe@EXAMPLE.com.>", "example.com"),
        (b' "me@example.net" <joe@example.com>', "example.com"),
        (b" a@example.com, b@example.com", "example.com"),
        (b"\n <joe@b\xc3\xbccher.example>", "xn--bcher-kva.example"),
    ],
)
def test_domain_of_the_author_is_read(value: bytes, domain: str) -> None:
    assert author_domain([(b"FROM", value)]) == domain


@pytest.mark.parametrize(
    "value",
    [b'"x@evil.example\\" <ceo@bank.example>', b"ceo@bank.example\\", b"ceo@bank.example\x01", b"x@[192.0.2.1]"],
)
def test_domain_that_no_host_can_have_is_an_error_and_not_one_without_a_policy(value: bytes) -> None:
    """A reader may see the domain that has a policy, without what stands beside it."""
    check = Dmarc(resolver=KnownNames({"_dmarc.bank.example": REJECT}))
    result = message(b"From: " + value + b"\n\nHi.\n").run_checks(check)[check]
    assert (result.word, result.outcome) == (DmarcWord.PERMERROR, Outcome.FOUND)


def test_message_with_more_fields_than_are_looked_at_is_refused() -> None:
    """The author that readers see may stand among the others, and so may results that somebody forged."""
    mail = message(b"From: x@evil.example\n" + b"X: y\n" * 2000 + b"From: ceo@bank.example\n\nHi.\n")
    check = Dmarc(resolver=KnownNames({"_dmarc.bank.example": REJECT}))
    mail.run_checks(check)
    assert mail.is_rejected


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"\r\r\n"])
@pytest.mark.parametrize("is_parsed", [False, True])
def test_text_of_a_message_without_header_is_none_whatever_it_looks_like(blank: bytes, *, is_parsed: bool) -> None:
    mail = message(blank + b"From: ceo@bank.example\n\nHi.\n")
    if is_parsed:
        assert mail.root is not None
    check = Dmarc(resolver=KnownNames({}))
    assert mail.run_checks(check)[check].word is DmarcWord.PERMERROR
    assert mail.headers_as_they_came() == []


def test_message_with_as_many_fields_as_are_looked_at_is_not_refused() -> None:
    mail = message(b"From: x@evil.example\n" + b"X: y\n" * 1999 + b"\nHi.\n")
    assert len(mail.headers) == 2000
    assert not mail.is_rejected


def test_tree_walk_is_one_round_trip() -> None:
    names = KnownNames({"_dmarc.example.com": REJECT})
    check = Dmarc(resolver=names)
    message(mail_from("a.b.example.com")).run_checks(check)
    assert [
        "_dmarc.a.b.example.com",
        "_dmarc.b.example.com",
        "_dmarc.example.com",
        "_dmarc.com",
        "a.b.example.com",
    ] in (names.rounds)


def test_result_stands_in_the_record_with_those_of_spf_and_dkim() -> None:
    told = json.loads(json.dumps(scan({"_dmarc.example.com": REJECT}).as_record()))
    assert (told["word"], told["disposition"], told["spf"]["word"], told["dkim"]["outcome"]) == (
        *("fail", "reject", "none", "not-applicable"),
    )


# Time that a stranger might take


def test_sender_with_silent_nameservers_does_not_hide_a_forgery() -> None:
    """Whose SPF and keys are asked for, the forger chooses."""
    with DnsServer('_dmarc.example.com TXT "v=DMARC1; p=reject"\nexample.com A 192.0.2.9') as server:
        server.faults["slow.example"] = Fault.SILENT
        server.faults["s._domainkey.slow.example"] = Fault.SILENT
        check = Dmarc(resolver=Resolver(server.address), timeout_s=4.0)
        raw = signed("example.com", "slow.example")
        result = message(raw, b"a@slow.example").run_checks(check)[check]
    assert (result.word, result.disposition) == (DmarcWord.FAIL, DmarcPolicy.REJECT)
    assert result.spf is not None
    assert result.dkim is not None
    assert (result.spf.word, result.dkim.word) == ("temperror", "temperror")


@pytest.mark.parametrize("value", ["a:" * 30000, "(" * 60000, "<" * 60000, "a@[" * 20000, "a@b," * 15000])
def test_from_of_any_shape_is_an_error_in_no_long_time(value: str) -> None:
    started = time.process_time()
    result = scan({}, PLAIN.replace(b"Joe <joe@example.com>", value.encode()))
    assert (result.word, result.outcome) == (DmarcWord.PERMERROR, Outcome.FOUND)
    assert time.process_time() - started < LONG_S
