# SPDX-License-Identifier: GPL-3.0-or-later
"""What Authentication-Results of others say is read by the grammar, and ours as it was written."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.checks import MethodResult
from defang_worker.checks.auth.cfws import Unreadable
from defang_worker.checks.auth.method_result import field_value
from defang_worker.checks.auth.payload import read_head, read_results


def read(text: str) -> tuple[str, list[MethodResult]]:
    head = read_head(text)
    return head.authserv_id, read_results(text, head.end)


@pytest.mark.parametrize(
    ("text", "results"),
    [
        ("mx.example.org; none", []),
        ("mx.example.org; none ;", []),
        ("mx.example.org", []),
        ("mx.example.org;", []),
        ("mx.example.org 1 (x);\r\n (a; b=c) spf (d) = (e) pass (f)", [("spf", "pass", {})]),
        ("m; dkim/1=pass", [("dkim", "pass", {})]),
        ("m; dkim / (v) 2 = Pass", [("dkim", "pass", {})]),
        ('m; auth=pass (none) smtp.auth="joe; spf=fail"', [("auth", "pass", {"smtp.auth": "joe; spf=fail"})]),
        ('m; spf=pass smtp.mailfrom="a b"@example.com', [("spf", "pass", {"smtp.mailfrom": "a b@example.com"})]),
        ('m; a=b x.y="q\\"\\\\z"', [("a", "b", {"x.y": 'q"\\z'})]),
        (
            (
                "m 1; spf=pass (sender ip is 192.0.2.1) smtp.rcpttodomain=example.org smtp.mailfrom=example.com;"
                " dmarc=pass (p=none) action=none header.from=example.com;\r\n\tarc=none; compauth=pass reason=100"
            ),
            [
                ("spf", "pass", {"smtp.rcpttodomain": "example.org", "smtp.mailfrom": "example.com"}),
                ("dmarc", "pass", {"header.from": "example.com"}),
                ("arc", "none", {}),
                ("compauth", "pass", {}),
            ],
        ),
        (
            (
                "m;\r\n dkim=pass header.i=@example.com header.s=s1 header.b=abc/de+=;\r\n"
                " dmarc=pass (p=NONE) header.from=a.example"
            ),
            [
                ("dkim", "pass", {"header.i": "@example.com", "header.s": "s1", "header.b": "abc/de+="}),
                ("dmarc", "pass", {"header.from": "a.example"}),
            ],
        ),
        ("m; iprev=pass policy.iprev=2001:db8::1", [("iprev", "pass", {"policy.iprev": "2001:db8::1"})]),
        ("m; x=y policy.published_domain-policy=z", [("x", "y", {"policy.published-domain-policy": "z"})]),
        ("m; spf", None),
        ("m; spf=", None),
        ("m; =pass", None),
        ("m; spf=pass smtp.mailfrom", None),
        ("m; spf=pass (open", None),
        ('m; spf=pass smtp.mailfrom="open', None),
        ("m; dkim/x=pass", None),
        ("m, spf=pass", None),
        ("; spf=pass", None),
        ("", None),
    ],
)
def test_results_are_read_by_the_grammar(text: str, results: list[tuple[str, str, dict[str, str]]] | None) -> None:
    if results is None:
        with pytest.raises(Unreadable):
            read(text)
    else:
        assert [(one.method, one.result, dict(one.properties)) for one in read(text)[1]] == results


def test_reason_is_read() -> None:
    ((one,)) = read('m; dkim=fail reason="no key" header.d=example.com')[1]
    assert (one.reason, one.properties) == ("no key", (("header.d", "example.com"),))


def test_more_results_than_anybody_has_are_not_read() -> None:
    with pytest.raises(Unreadable):
        read("m" + "; spf=pass" * 1000)


_SAFE = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\;()='), min_size=1)


@given(_SAFE, _SAFE, st.booleans())
def test_what_was_written_is_read(value: str, reason: str, is_short: bool) -> None:
    wanted = MethodResult(
        method="dkim", result="fail", reason=reason[:100], properties=(("header.d", value[: 5 if is_short else 200]),)
    )
    name, (one,) = read(field_value("mx.example.org", [wanted]))
    assert (name, one) == ("mx.example.org", wanted)


@given(st.text(st.sampled_from('a1=;:.()"\\ \t\r\n/@-,') | st.characters(), max_size=80))
def test_any_text_is_read_or_not(text: str) -> None:
    with suppress(Unreadable):
        read(text)
    with suppress(Unreadable):
        read(f"m; a=b {text}")
