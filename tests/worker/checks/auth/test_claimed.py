# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication-Results that others wrote in our name are deleted, however they hide it; all others stay."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import commands
from defang_worker import Settings
from defang_worker.api.message import Message
from defang_worker.checks.auth.claimed import is_claimed
from tests.worker.checks.auth.mail import PLAIN

OURS = ("mx.example.org", "bücher.example")

FORGED = [
    "mx.example.org; dkim=pass",
    "mx.example.org;dkim=pass",
    "mx.example.org 1; dkim=pass",
    "mx.example.org",
    "MX.Example.ORG; dkim=pass",
    "mx.example.org.; dkim=pass",
    "  \t mx.example.org ; none",
    "\r\n mx.example.org;\r\n dkim=pass",
    "\n\tmx.example.org\n\t; dkim=pass",
    '"mx.example.org"; dkim=pass',
    '"mx\\.example\\.org"; dkim=pass',
    '"\\m\\x.example.org" (c) 1; dkim=pass',
    "(a comment) mx.example.org; dkim=pass",
    "(a (nested) \\) one)mx.example.org(another); dkim=pass",
    "(other.example; ) mx.example.org; dkim=pass",
    "xn--bcher-kva.example; dkim=pass",
    "bücher.example; dkim=pass",
    "BÜCHER.example; dkim=pass",
    "mx.exa\u00admple.org; dkim=pass",
    # Not by the grammar, but some program may read it so.
    "(never closed mx.example.org; dkim=pass",
    "mx.example.org (never closed; dkim=pass",
    '"mx.example.org; dkim=pass',
    'mx.example.org"; dkim=pass',
    '" mx.example.org "; dkim=pass',
    "mx . example . org; dkim=pass",
    "mx(a).(b)example\n .org; dkim=pass",
    "mx.example.org/1; dkim=pass",
    "mx.example.org:25; dkim=pass",
    "<mx.example.org>; dkim=pass",
    "mx.example.org other.example; dkim=pass",
    "other.example mx.example.org; dkim=pass",
    "mx.example.org, dkim=pass",
    "mx.example.org dkim=pass",
    "; mx.example.org; dkim=pass",
    "=?us-ascii?q?mx=2Eexample.org?=; dkim=pass",
    "=?utf-8?b?bXguZXhhbXBsZS5vcmc=?=; dkim=pass",
    '"=?utf-8?b?bXguZXhhbXBsZS5vcmc=?="; dkim=pass',
    "mx.example.org\0; dkim=pass",
    "mx.exam\0ple.org; dkim=pass",
    "mx.exam\rple.org; dkim=pass",
    "\rmx.example.org; dkim=pass",
    "other.example; none\rAuthentication-Results: mx.example.org; dkim=pass",
    "mx.\x01example.org; dkim=pass",
    # Of a version that nobody here understands, whoever wrote it.
    "mx.example.org 2; dkim=pass",
    "other.example 2; dkim=pass",
    "other.example 00000000000000000000000000002; dkim=pass",
]
OTHERS = [
    "other.example; dkim=pass",
    "other.example 1; dkim=pass header.d=mx.example.org",
    "other.example; dkim=pass (mx.example.org; dkim=pass)",
    'other.example; dkim=fail reason="not (mx.example.org"',
    "(mx.example.org;) other.example; dkim=pass",
    "a.mx.example.org; dkim=pass",
    "smx.example.org; dkim=pass",
    "mx.example.org.evil.example; dkim=pass",
    "mx.example.orgx; dkim=pass",
    "mx-example.org; dkim=pass",
    "mxXexample.org; dkim=pass",
    '"other.example"; dkim=pass',
    '"a\\"b mx"; dkim=pass',
    "other.example/1; dkim=pass",
    "example.org; spf=pass",
    "a.mx.example.org/1; dkim=pass",
    "",
    "; dkim=pass",
    "=?utf-8?q?other.example?=; dkim=pass",
]


@pytest.mark.parametrize("value", FORGED)
def test_field_in_our_name_is_found(value: str) -> None:
    assert is_claimed(value.encode(), OURS)


@pytest.mark.parametrize("value", OTHERS)
def test_field_of_another_host_is_left(value: str) -> None:
    assert not is_claimed(value.encode(), OURS)


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(value: bytes) -> None:
    assert is_claimed(value, OURS) in (True, False)


_BLANK = st.sampled_from(["", " ", "\t", "\r\n ", "(c)", "(a(b)c)", "(\\))", "(;)"])


@given(st.lists(_BLANK, max_size=4), st.lists(_BLANK, max_size=4), st.sampled_from(["", "1", "01"]), st.booleans())
def test_field_by_the_grammar_is_read_whatever_stands_around_the_name(
    before: list[str], after: list[str], version: str, is_quoted: bool
) -> None:
    for host, is_ours in (("mx.example.org", True), ("other.example", False)):
        name = f'"{host}"' if is_quoted else host
        value = f"{''.join(before)}{name}{''.join(after)} {version}; dkim=pass"
        assert is_claimed(value.encode(), OURS) is is_ours


@pytest.mark.parametrize("piece", ["(", ")", '"', "\\", " ", ".", "\r\n ", "a.", "(a", "=?u?q?", "\r", "mx."])
def test_long_field_costs_one_pass(piece: str) -> None:
    """Ten times the length takes about ten times the time, not a hundred times."""

    def took(count: int) -> float:
        value = (piece * count + "; x").encode()
        started = time.process_time()
        is_claimed(value, OURS)
        return time.process_time() - started

    took(10)
    assert took(50_000) < max(0.5, 60 * took(5_000))


# On a message


def mail_of(fields: list[str], *, ip: str = "192.0.2.7", **settings: object) -> Message:
    envelope = f"S<joe@example.com>\n=j mx.example.org\nQQ1\nHclient\nI{ip}\nEhelo\nR<b@example.org> ? ? ?\nF\n"
    raw = "".join(f"Authentication-Results: {value}\n" for value in fields).encode() + PLAIN
    return Message(commands.decode(envelope.encode()), raw, "/nowhere", Settings(**settings))  # type: ignore[arg-type]


def left(mail: Message) -> list[str]:
    mail.add_authentication_results()
    return mail.headers.all("Authentication-Results")


FIELDS = [
    "other.example; spf=pass",
    "mx.example.org; spf=pass",
    "b.example.org; spf=pass",
    "(x)MX.example.org; dkim=pass",
]


def test_only_forged_fields_go_and_ours_is_on_top() -> None:
    mail = mail_of(FIELDS)
    assert left(mail) == ["mx.example.org; none", FIELDS[0], FIELDS[2]]


def test_names_of_other_hosts_of_the_site_are_ours_too() -> None:
    assert left(mail_of(FIELDS, authserv_aliases=("b.example.org",))) == ["mx.example.org; none", FIELDS[0]]


def test_client_that_is_a_mail_server_of_the_site_is_believed() -> None:
    relays = ("198.51.100.0/24", "2001:db8::1")
    assert left(mail_of(FIELDS, ip="198.51.100.7", authserv_relays=relays)) == ["mx.example.org; none", *FIELDS]
    assert left(mail_of(FIELDS, ip="2001:db8::1", authserv_relays=relays)) == ["mx.example.org; none", *FIELDS]
    assert len(left(mail_of(FIELDS, ip="192.0.2.7", authserv_relays=relays))) == 3
    assert len(left(mail_of(FIELDS, ip="", authserv_relays=relays))) == 3
    with pytest.raises(ValueError, match="no network"):
        Settings(authserv_relays=("no network",))


def test_field_of_our_own_stays_when_another_is_written() -> None:
    mail = mail_of(FIELDS)
    mail.add_authentication_results()
    mail.add_authentication_results(smtp_auth=True)
    assert mail.headers.all("Authentication-Results")[:2] == ["mx.example.org; auth=none", "mx.example.org; none"]
    assert len(mail.headers.all("Authentication-Results")) == 4
