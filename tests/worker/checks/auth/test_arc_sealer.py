# SPDX-License-Identifier: GPL-3.0-or-later
"""ARC: messages are sealed as they are delivered, and broken chains ended."""

from __future__ import annotations

import re

import dkim
import pytest

from defang_worker import Settings
from defang_worker.checks import (
    Arc,
    ArcResult,
    ArcSealer,
    ArcWord,
    Dkim,
    DkimKey,
    DkimSigner,
    DkimWord,
    Dmarc,
    Outcome,
)
from defang_worker.checks.auth.dkim_verify import signature_tags
from defang_worker.checks.auth.signed_text import SignedText
from tests.worker.checks.auth.mail import PLAIN, message, rsa_key
from tests.worker.checks.auth.names import KnownNames
from tests.worker.checks.auth.sealed_mail import (
    RESULTS,
    edited,
    key_of,
    keys,
    of_hosts,
    of_hosts_once,
    scan,
    sealed,
    site,
)
from tests.worker.checks.auth.vectors import RFC8463_ED25519_KEY, RFC8463_SEED


def test_message_is_sealed_as_it_is_delivered_with_what_was_found_of_it() -> None:
    arc = Arc(resolver=KnownNames(keys("d1.example")))
    dmarc = Dmarc(resolver=KnownNames({"_dmarc.example.com": "v=DMARC1; p=reject", "example.com": "v=spf1 +all"}))
    mail = site(b"Authentication-Results: mx.example.org; dmarc=pass header.from=forged.example\n" + of_hosts(1))
    results = mail.run_checks(arc, dmarc)
    mail.add_authentication_results(*results)
    mail.headers.replace("Subject", "[list] hello")
    mail.append_text("-- \nthe list\n")
    DkimSigner(DkimKey("list.example", "ed", RFC8463_SEED)).sign(mail)
    assert ArcSealer(key_of("d2.example")).seal(mail, results[arc])
    delivered = mail.as_delivered()
    assert re.findall(rb"^([\w-]+): ", delivered, re.MULTILINE)[:5] == [
        *(b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"),
        *(b"DKIM-Signature", b"Authentication-Results"),
    ]
    found = scan(delivered)
    assert (found.word, found.oldest_pass, found.domains) == (ArcWord.PASS, 2, ("d1.example", "d2.example"))
    told = {(one.method, one.result, one.properties[-1:]) for one in found.seals[1].results}
    assert ("dmarc", "pass", (("policy.dmarc", "reject"),)) in told
    assert ("arc", "pass", (("header.oldest-pass", "0"),)) in told
    assert found.seals[1].authserv_id == "mx.example.org"
    assert b"forged" not in delivered
    # The DKIM signature is covered: taken away, the message is another.
    without = re.sub(rb"DKIM-Signature: .*\n(?:[ \t].*\n)*", b"", delivered)
    assert scan(without).reason == "ARC-Message-Signature 2: the signature does not match"
    signed = Dkim(resolver=KnownNames({"ed._domainkey.list.example": RFC8463_ED25519_KEY}))
    assert message(delivered).run_checks(signed)[signed].word is DkimWord.PASS


def test_first_to_seal_says_that_there_was_no_chain() -> None:
    mail = site(PLAIN)
    arc = Arc(resolver=KnownNames())
    result = mail.run_checks(arc)[arc]
    assert ArcSealer(key_of("d1.example")).seal(mail, result)
    raw = mail.as_delivered()
    assert b"cv=none" in raw
    assert b"ARC-Authentication-Results: i=1; mx.example.org;\n none\n" in raw
    assert scan(raw).word is ArcWord.PASS


def test_forged_results_are_not_sealed_though_the_filter_wrote_none_of_its_own() -> None:
    mail = site(b'Authentication-Results: "MX.example.org" (x); dmarc=pass\n' + PLAIN)
    assert mail.own_authentication_results() == "mx.example.org;\n none"
    assert "Authentication-Results" not in mail.headers


def test_results_of_several_fields_of_the_site_are_sealed_as_one() -> None:
    fields = (
        b"Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=a@example.com;\n\tdkim=none;\n"
        b"Authentication-Results: other.example; spf=fail\n"
        b"Authentication-Results: mx.example.org 1 (x); none\n"
        b"Authentication-Results: mx.example.org; \xff\n"
        b"Authentication-Results: MX.example.org; dmarc=pass (\xc3\xa9 \r x)\n"
    )
    mail = site(fields + PLAIN, "198.51.100.1")
    mail.settings = Settings(authserv_relays=("198.51.100.0/24",))
    assert mail.own_authentication_results() == (
        "mx.example.org; spf=pass smtp.mailfrom=a@example.com;\n\tdkim=none; dmarc=pass (?? ? x)"
    )


@pytest.mark.parametrize(
    "forged",
    [
        b"evil.example 2; dmarc=pass header.from=bank.example",
        b"mx.example.org 2; dmarc=pass header.from=bank.example",
        b"evil.example; dmarc=pass header.from=bank.example (\rmx.example.org)",
    ],
)
def test_what_a_relay_has_let_pass_in_no_name_of_ours_is_not_sealed(forged: bytes) -> None:
    """Such fields are deleted where they come from outside, to be on the safe side; that makes them none of ours."""
    mail = site(b"Authentication-Results: " + forged + b"\n" + PLAIN, "198.51.100.1")
    mail.settings = Settings(authserv_relays=("198.51.100.0/24",))
    assert mail.own_authentication_results() == "mx.example.org;\n none"


@pytest.mark.parametrize(
    "broken",
    [
        of_hosts_once().replace(b"Hi.", b"Ho."),
        edited(of_hosts_once(), b"ARC-Seal", lambda _: b"", 1),
        b"ARC-Seal: i=2; cv=pass\n" + of_hosts_once(),
        b"ARC-Seal: garbage\n" + of_hosts_once(),
    ],
)
def test_broken_chain_is_ended_by_a_seal_of_its_own_set_alone(broken: bytes) -> None:
    """RFC 8617, section 5.1.2: what is sealed is the new set, as if it were the only one."""
    raw = sealed(broken, "d3.example")
    text = SignedText.of(raw)
    fields = [one for one in text.fields if one[0].lower().startswith(b"arc-")][:3]
    seal, signature, told = fields
    tags = signature_tags(seal[1])
    assert (tags[b"i"], tags[b"cv"]) == (b"3", b"fail")
    signer = dkim.DKIM(None)
    signer.headers = [signature, told]
    names = [b"arc-authentication-results", b"arc-message-signature"]
    tags[b"c"] = b"relaxed/relaxed"
    assert signer.verify_sig(tags, names, seal, lambda *_, **__: rsa_key()[1].encode())
    assert scan(raw).reason == "an earlier host found the chain broken"
    # And nobody goes on from there.
    assert sealed(raw, "d1.example") == raw


def test_chain_that_the_filter_has_changed_is_not_sealed_as_good() -> None:
    arc = Arc(resolver=KnownNames(keys("d1.example")))
    mail = site(of_hosts(1))
    result = mail.run_checks(arc)[arc]
    mail.headers.delete_all("ARC-Seal")
    mail.headers.delete_all("ARC-Message-Signature")
    mail.headers.delete_all("ARC-Authentication-Results")
    assert not ArcSealer(key_of("d2.example")).seal(mail, result)
    assert "ARC-Seal" not in mail.headers
    other = site(of_hosts(1))
    other.headers.replace("ARC-Seal", "nonsense")
    assert not ArcSealer(key_of("d2.example")).seal(other, result)


def test_sealer_takes_no_key_that_others_cannot_verify_and_no_field_that_changes_on_the_way() -> None:
    with pytest.raises(ValueError, match="RSA"):
        ArcSealer(DkimKey("example.com", "ed", RFC8463_SEED))
    for name in ("Received", "ARC-Seal", "Authentication-Results"):
        with pytest.raises(ValueError, match=f"not to be signed: {name.lower()}"):
            ArcSealer(key_of("d1.example"), fields=(name,))
    none = ArcResult(check="arc", outcome=Outcome.NOT_APPLICABLE, word=ArcWord.NONE)
    assert ArcSealer(key_of("d1.example")).header_fields(b"Subject: x\n\nHi\n", RESULTS, none) == []


def test_many_fields_of_a_name_do_not_make_the_set_too_long() -> None:
    raw = b"To: bob@example.org\n" * 3000 + PLAIN
    none = ArcResult(check="arc", outcome=Outcome.NOT_APPLICABLE, word=ArcWord.NONE)
    fields = ArcSealer(key_of("d1.example")).header_fields(raw, RESULTS, none)
    assert max(len(value) for _, value in fields) < 2000
    assert scan(sealed(raw, "d1.example")).word is ArcWord.PASS
