# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication-Results written: every method, and values of strangers that get no further than their quotes."""

from __future__ import annotations

import re

import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import commands
from defang_worker import Settings
from defang_worker.api.message import Message
from defang_worker.checks import (
    CheckResult,
    Dkim,
    DkimResult,
    DkimSignature,
    DkimWord,
    Dmarc,
    MethodResult,
    Outcome,
    ReverseNameResult,
    Spf,
    SpfResult,
    SpfWord,
)
from defang_worker.checks.auth.method_result import field_value
from tests.worker.checks.auth.mail import PLAIN, message, rsa_key
from tests.worker.checks.auth.names import KnownNames
from tests.worker.checks.auth.vectors import RFC8463, RFC8463_KEYS

SPF_TEXT = "v=spf1 ip4:192.0.2.7 -all"


def mail_of(**facts: bytes) -> Message:
    told = {
        "sender": b"joe@example.com",
        "ip": b"192.0.2.7",
        "helo": b"helo.example.com",
        "macros": b"=j mx.example.org",
    }
    told |= facts
    lines = b"S<%(sender)b>\n%(macros)b\nQQ1\nHclient.example.com\nI%(ip)b\nE%(helo)b\nR<b@example.org> ? ? ?\nF\n"
    text = lines % {name.encode(): value for name, value in told.items()}
    return Message(commands.decode(text), PLAIN, "/nowhere", Settings())


def written(mail: Message, *results: CheckResult, smtp_auth: bool = False) -> str:
    mail.add_authentication_results(*results, smtp_auth=smtp_auth)
    return (mail.headers.get("Authentication-Results") or "").replace("\t", " ")


def one_line(mail: Message, *results: CheckResult) -> str:
    return re.sub(" +", " ", written(mail, *results))


def spf(word: SpfWord = SpfWord.PASS, **more: object) -> SpfResult:
    return SpfResult(check="spf", outcome=Outcome.NOT_FOUND, word=word, **more)  # type: ignore[arg-type]


def dkim(*signatures: DkimSignature) -> DkimResult:
    return DkimResult(check="dkim", outcome=Outcome.NOT_FOUND, signatures=signatures)


def iprev(outcome: Outcome, names: tuple[str, ...] = (), confirmed: tuple[str, ...] = ()) -> ReverseNameResult:
    return ReverseNameResult(check="iprev", outcome=outcome, names=names, confirmed=confirmed)


# Methods


def test_no_result_is_none() -> None:
    assert one_line(mail_of()) == "mx.example.org; none"


@pytest.mark.parametrize("word", SpfWord)
def test_every_word_of_spf_is_told_with_the_identity(word: SpfWord) -> None:
    assert one_line(mail_of(), spf(word)) == f"mx.example.org; spf={word} smtp.mailfrom=joe@example.com"


def test_spf_of_the_helo_and_of_a_null_sender_names_the_helo() -> None:
    by_helo = "mx.example.org; spf=pass smtp.helo=helo.example.com"
    assert one_line(mail_of(), spf(identity="helo")) == by_helo
    assert one_line(mail_of(sender=b""), spf()) == by_helo


def test_reason_is_told_of_spf_that_could_not_be_evaluated() -> None:
    told = one_line(mail_of(), spf(SpfWord.PERMERROR, detail="permerror for mailfrom example.com: two records"))
    assert told == 'mx.example.org; spf=permerror reason="two records" smtp.mailfrom=joe@example.com'


def test_every_signature_is_told_and_characters_of_base64_are_quoted() -> None:
    check = Dkim(resolver=KnownNames(RFC8463_KEYS))
    mail = message(RFC8463)
    mail.add_authentication_results(mail.run_checks(check)[check])
    assert mail.headers.raw("Authentication-Results")[0] == (
        b"mail.example.org;\n"
        b" dkim=pass (256-bit key) header.d=football.example.com\n"
        b"  header.i=@football.example.com header.s=brisbane header.a=ed25519-sha256\n"
        b'  header.b="/gCrinpc";\n'
        b" dkim=pass (1024-bit key) header.d=football.example.com\n"
        b"  header.i=@football.example.com header.s=test header.a=rsa-sha256\n"
        b"  header.b=F45dVWDf"
    )


def test_signature_that_does_not_hold_has_a_reason() -> None:
    check = Dkim(resolver=KnownNames({"test._domainkey.football.example.com": "v=DKIM1; t=y; p="}))
    raw = RFC8463.partition(b"DKIM-Signature: ")[2]
    raw = b"DKIM-Signature: " + raw.partition(b"DKIM-Signature: ")[2]
    mail = message(raw)
    told = one_line(mail, mail.run_checks(check)[check])
    assert told.startswith('mail.example.org; dkim=permerror reason="the key is revoked" header.d=football.example.com')


def test_message_without_signature_has_dkim_none_and_one_whose_keys_cannot_be_had_temperror() -> None:
    assert one_line(mail_of(), DkimResult(check="d", outcome=Outcome.NOT_APPLICABLE)) == "mx.example.org; dkim=none"
    assert one_line(mail_of(), DkimResult(check="d", outcome=Outcome.UNKNOWN)) == "mx.example.org; dkim=temperror"


def test_what_a_signature_says_of_itself_stands_in_the_comment() -> None:
    one = DkimSignature(result=DkimWord.PASS, domain="example.com", key_bits=2048, is_testing=True, is_partial=True)
    told = one_line(mail_of(), dkim(one))
    comment = "(2048-bit key, only testing, the end of the body is not signed)"
    assert told == f"mx.example.org; dkim=pass {comment} header.d=example.com"


@pytest.mark.parametrize(
    ("policy", "sender", "told"),
    [
        ("v=DMARC1; p=reject", b"joe@example.com", "dmarc=pass header.from=example.com policy.dmarc=reject"),
        (
            "v=DMARC1; p=reject; t=y",
            b"a@other.example",
            "dmarc=fail (disposition quarantine) header.from=example.com policy.dmarc=reject",
        ),
        ([], b"joe@example.com", "dmarc=none header.from=example.com"),
        (None, b"joe@example.com", "dmarc=temperror header.from=example.com"),
    ],
)
def test_dmarc_is_told_behind_the_results_that_it_rests_on(
    policy: str | list[str] | None, sender: bytes, told: str
) -> None:
    check = Dmarc(resolver=KnownNames({"_dmarc.example.com": policy, "example.com": SPF_TEXT}))
    mail = mail_of(sender=sender)
    parts = one_line(mail, mail.run_checks(check)[check]).split("; ")
    assert parts[0] == "mx.example.org"
    assert parts[1].startswith("spf=")
    assert parts[2:] == ["dkim=none", told]


def test_policy_of_another_domain_is_told_with_its_name() -> None:
    check = Dmarc(resolver=KnownNames({"_dmarc.com": "v=DMARC1; p=none; psd=y; np=reject"}))
    mail = mail_of()
    told = one_line(mail, mail.run_checks(check)[check])
    assert told.endswith("dmarc=fail (disposition none, policy of com) header.from=example.com policy.dmarc=none")


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (iprev(Outcome.NOT_FOUND, ("a.example",), ("a.example",)), "pass (a.example)"),
        (iprev(Outcome.FOUND, ("a.example",)), "fail"),
        (iprev(Outcome.FOUND), "permerror"),
        (iprev(Outcome.UNKNOWN), "temperror"),
    ],
)
def test_name_of_the_client_is_told_as_iprev(result: ReverseNameResult, told: str) -> None:
    assert one_line(mail_of(), result) == f"mx.example.org; iprev={told} policy.iprev=192.0.2.7"


def test_ipv6_address_is_quoted() -> None:
    told = one_line(mail_of(ip=b"2001:db8::1"), iprev(Outcome.FOUND))
    assert told == 'mx.example.org; iprev=permerror policy.iprev="2001:db8::1"'


def test_login_is_told_on_request_alone() -> None:
    macros = b"=j mx.example.org\n=auth_authen joe%20doe\n=auth_type PLAIN"
    assert one_line(mail_of(macros=macros)) == "mx.example.org; none"
    told = written(mail_of(macros=macros), smtp_auth=True)
    assert told == 'mx.example.org; auth=pass (PLAIN) smtp.auth="joe doe" smtp.mailfrom=joe@example.com'
    assert written(mail_of(), smtp_auth=True) == "mx.example.org; auth=none"


def test_result_that_is_there_twice_is_told_once() -> None:
    check = Dmarc(resolver=KnownNames({"example.com": SPF_TEXT}))
    own = Spf(resolver=check.resolver)
    mail = mail_of()
    results = mail.run_checks(check, own)
    assert one_line(mail, results[own], results[check]).count("spf=pass") == 1


def test_result_of_another_kind_is_an_error() -> None:
    with pytest.raises(TypeError, match="clamd: a CheckResult has nothing for Authentication-Results"):
        written(mail_of(), CheckResult(check="clamd", outcome=Outcome.FOUND))


def test_check_of_ones_own_can_have_a_method() -> None:
    class Own(CheckResult):
        __slots__ = ()

        def authentication_results(self, envelope: object) -> list[MethodResult]:
            return [MethodResult(method="x-own", result="pass", properties=(("policy.said", "so it is"),))]

    assert one_line(mail_of(), Own(check="own", outcome=Outcome.FOUND)) == (
        'mx.example.org; x-own=pass policy.said="so it is"'
    )
    for words in ({"method": "a b", "result": "x"}, {"method": "a", "result": "x\ny"}):
        with pytest.raises(ValueError, match="no word"):
            MethodResult(**words)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no property"):
        MethodResult(method="a", result="b", properties=(("smtp mailfrom", "c"),))


# Whose name


def test_name_is_the_mail_servers_or_the_settings() -> None:
    mail = mail_of()
    mail.settings = Settings(authserv_id="mail.example.net")
    assert written(mail) == "mail.example.net; none"
    with pytest.raises(ValueError, match="authserv_id"):
        written(mail_of(macros=b"=i Q1"))
    with pytest.raises(ValueError, match="no name"):
        Settings(authserv_id="a b")


def test_field_stands_on_top() -> None:
    mail = mail_of()
    written(mail)
    assert mail.as_delivered().startswith(b"Authentication-Results: mx.example.org;\n none\nFrom: ")


# Values of strangers


def parsed(value: str) -> authres.AuthenticationResultsHeader:
    return authres.AuthenticationResultsHeader.parse("Authentication-Results: " + value.replace("\n", "\r\n"))


@given(
    st.text(max_size=60),
    st.text(max_size=60),
    st.text(st.characters(codec="latin-1"), max_size=60),
    st.text(max_size=60),
)
def test_values_of_strangers_stay_within_their_result(sender: str, helo: str, domain: str, reason: str) -> None:
    """Whatever they hold, another implementation reads just what was told, and no field or result more."""
    results = [
        MethodResult(method="spf", result="fail", properties=(("smtp.mailfrom", f"{sender}@x"), ("smtp.helo", helo))),
        MethodResult(method="dkim", result="fail", reason=reason, comment=reason, properties=(("header.d", domain),)),
    ]
    value = field_value("mx.example.org", results)
    assert value.isascii()
    assert not re.search(r"\n(?! )|[\x00-\x09\x0b-\x1f\x7f\\]", value)
    # To one who knows neither quotes nor comments there are two results, too.
    assert [part.strip().partition(" ")[0] for part in value.split(";")] == ["mx.example.org", "spf=fail", "dkim=fail"]
    assert value.count("(") == value.count(")") == (1 if reason else 0)
    header = parsed(value)
    assert header.authserv_id == "mx.example.org"
    assert [(one.method, one.result) for one in header.results] == [("spf", "fail"), ("dkim", "fail")]
    for one, wanted in zip(header.results, results, strict=True):
        told = {f"{prop.type}.{prop.name}" for prop in one.properties}
        # That implementation overlooks what stands behind a value in quotes.
        assert told <= {name for name, given in wanted.properties if given}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("joe@example.com", "joe@example.com"),
        ("bounce+joe=example.com@lists.example", '"bounce+joe=example.com@lists.example"'),
        ('"joe doe"@example.com', '"joe doe@example.com"'),
        ('"joe"@example.com', "joe@example.com"),
        ('"joe\\ doe"@example.com', '"joe doe@example.com"'),
        ("a b@example.com", '"a b@example.com"'),
        ("a@b@example.com", '"a@b@example.com"'),
        ("a@[192.0.2.1]", '"a@[192.0.2.1]"'),
        ("@example.com", "@example.com"),
        ('"a b"', '"?a b?"'),
        ('a"b; dkim=pass header.d=x@example.com', '"a?b? dkim?pass header.d=x@example.com"'),
        ("dmarc=PASS@example.com", '"dmarc?PASS@example.com"'),
        ('"a\\"b"@example.com', '"a?b@example.com"'),
        ("a\r\nSubject: x", '"a??Subject: x"'),
        ("a\\", '"a?"'),
        ("(comment)", '"?comment?"'),
        ("böb@bücher.example", '"b?b@xn--bcher-kva.example"'),
        ("bücher.example", "xn--bcher-kva.example"),
        ("=?utf-8?q?x?=", '"=?utf-8?q?x?="'),
        ("\udcff", '"?"'),
    ],
)
def test_value_is_quoted_where_it_has_to_be(value: str, told: str) -> None:
    text = field_value("mx", [MethodResult(method="a", result="b", properties=(("c.d", value),))])
    assert text == f"mx;\n a=b c.d={told}"


def test_sender_of_a_message_cannot_break_out_of_its_quotes() -> None:
    mail = mail_of(sender=b'"x%0d%0aBcc: a@example.net; dmarc=pass"@example.com', helo=b"h\xff;spf=pass(")
    mail.add_authentication_results(spf(SpfWord.FAIL), spf(SpfWord.FAIL, identity="helo"))
    raw = mail.headers.raw("Authentication-Results")[0]
    assert raw.isascii()
    (first, second) = parsed(raw.decode()).results
    assert (first.method, second.method, first.result, second.result) == ("spf", "spf", "fail", "fail")


def test_value_that_is_too_long_for_a_domain_or_address_is_left_out() -> None:
    one = DkimSignature(result=DkimWord.FAIL, domain="a" * 400, selector="s", reason="r" * 500)
    told = one_line(mail_of(), dkim(one))
    assert told == f'mx.example.org; dkim=fail reason="{"r" * 120}" header.s=s'


def test_field_keeps_its_length_and_what_passed_comes_first() -> None:
    bad = [DkimSignature(result=DkimWord.FAIL, domain=f"d{number}.example", reason="no") for number in range(500)]
    good = DkimSignature(result=DkimWord.PASS, domain="good.example")
    mail = mail_of()
    mail.add_authentication_results(dkim(*bad, good))
    raw = mail.headers.raw("Authentication-Results")[0]
    assert 3000 < len(raw) < 4500
    told = parsed(raw.decode()).results
    assert [one.result for one in told[-2:]] == ["fail", "pass"]


def test_many_signatures_do_not_crowd_out_that_spf_and_dmarc_fail() -> None:
    long = "a" * 60 + ".evil.example"
    signatures = [
        MethodResult(
            method="dkim",
            result="pass",
            properties=(("header.d", long), ("header.i", f"{'l' * 200}{number}@{long}"), ("header.s", "s" * 60)),
        )
        for number in range(10)
    ]
    spf_fails = [MethodResult(method="spf", result="fail", comment=name) for name in ("mailfrom", "helo")]
    dmarc_fails = MethodResult(method="dmarc", result="fail", properties=(("header.from", "bank.example"),))
    value = field_value("mx.example.org", [*spf_fails, *signatures, dmarc_fails])
    assert len(value) < 4500
    told = [one.method for one in parsed(value).results]
    assert told == ["spf", "spf", *["dkim"] * (len(told) - 3), "dmarc"]


def test_lines_are_folded() -> None:
    check = Dkim(resolver=KnownNames({**RFC8463_KEYS, "x": rsa_key()[1]}))
    mail = message(RFC8463)
    mail.add_authentication_results(mail.run_checks(check)[check])
    assert max(map(len, mail.headers.raw("Authentication-Results")[0].split(b"\n"))) <= 78
