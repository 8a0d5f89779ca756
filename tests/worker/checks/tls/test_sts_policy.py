# SPDX-License-Identifier: GPL-3.0-or-later
"""MTA-STS records and policies as texts."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.checks.tls.sts_policy import MalformedPolicy, StsMode, StsPolicy, policy_id

# A text of 64 KB is read in milliseconds; with time squared it would be minutes.
LONG_S = 5.0
POLICY = b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmx: *.mail.example.com\nmax_age: 86400\n"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([b"v=STSv1; id=20260101T000000;"], "20260101T000000"),
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=STSv1 ;\t id=1 ; x=y"], "1"),
        ([b"v=STSv1; a=b; id=1; id=2"], "1"),
        ([b"v=spf1 -all", b"v=STSv1; id=1", b"something else"], "1"),
        ([b"v=STSv1; id=1", b"v=STSv1; id=2"], None),
        ([b"v=STSv1; id=1", b"v=STSv1; id=1"], None),
        ([b"V=STSv1; id=1"], None),
        ([b"v=STSv2; id=1"], None),
        ([b"v=STSv1"], None),
        ([b"v=STSv1; id="], None),
        ([b"v=STSv1; id=a-b"], None),
        ([b"v=STSv1; id=" + b"1" * 33], None),
        ([b"v=STSv1; id=\xc2\xb2"], None),
        ([b"v=STSv1; ID=1"], None),
        ([b"id=1; v=STSv1;"], None),
        ([b" v=STSv1; id=1"], None),
        ([], None),
    ],
)
def test_id_is_that_of_the_one_record(texts: list[bytes], expected: str | None) -> None:
    assert policy_id(texts) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_policy_is_read_with_either_line_end(end: bytes) -> None:
    text = POLICY.replace(b"\n", end)
    policy = StsPolicy(mode=StsMode.ENFORCE, max_age_s=86400, mx=("mx.example.com", "*.mail.example.com"))
    assert StsPolicy.of(text) == StsPolicy.of(text.removesuffix(end)) == StsPolicy.of(text + end) == policy


def test_fields_may_come_in_any_order_with_blanks_and_unknown_ones_between() -> None:
    text = b"mx:MX.example.com \nx-more: a:b\xc3\xbc\nmode :testing\nmax_age:\t0\nversion:  STSv1\t\n"
    assert StsPolicy.of(text) == StsPolicy(mode=StsMode.TESTING, max_age_s=0, mx=("mx.example.com",))


def test_first_of_a_field_counts_and_every_mx() -> None:
    policy = StsPolicy.of(
        POLICY + b"mode: none\nmax_age: 1\nversion: STSv9\nmx: third.example.com\nmx: mx.example.com\n"
    )
    assert (policy.mode, policy.max_age_s) == (StsMode.ENFORCE, 86400)
    assert policy.mx == ("mx.example.com", "*.mail.example.com", "third.example.com")


def test_age_is_a_year_at_most() -> None:
    assert StsPolicy.of(POLICY.replace(b"86400", b"9999999999")).max_age_s == 31557600


def test_policy_that_was_withdrawn_needs_no_host() -> None:
    assert StsPolicy.of(b"version: STSv1\nmode: none\nmax_age: 86400") == StsPolicy(mode=StsMode.NONE, max_age_s=86400)


@pytest.mark.parametrize(
    ("wrong", "right", "reason"),
    [
        (b"STSv1", b"STSv2", "no version"),
        (b"version", b"Version", "no version"),
        (b"enforce", b"Enforce", "no mode"),
        (b"mode: enforce\n", b"", "no mode"),
        (b"86400", b"-1", "no max_age"),
        (b"86400", b"1e3", "no max_age"),
        (b"86400", b"\xd9\xa3", "no max_age"),
        (b"86400", b"12345678901", "no max_age"),
        (b"86400", b"", "no max_age"),
        (b"mx: mx.example.com\nmx: *.mail.example.com\n", b"", "no mx"),
        (b"mx.example.com", b".example.com", "no name"),
        (b"mx.example.com", b"m*.example.com", "no name"),
        (b"mx.example.com", b"*.*.example.com", "no name"),
        (b"mx.example.com", b"192.0.2.1/24", "no name"),
        (b"mx.example.com", b"mx.example.com.", "no name"),
        (b"mx.example.com", b"a." * 130 + b"a", "no name"),
        (b"mx.example.com", b"", "no name"),
        (b"mx.example.com", b"a" * 64, "no name"),
        (b"mode: enforce", b"mode: enforce\rmode: none", "no mode"),
        (b"mode: enforce", b"mode enforce", "no field"),
        (b"mode: enforce", b"<html>", "no field"),
        (b"mode: enforce", b"mode: enforce\n\xff: 1", "UTF-8"),
    ],
)
def test_malformed_policy_is_none(wrong: bytes, right: bytes, reason: str) -> None:
    with pytest.raises(MalformedPolicy, match=reason):
        StsPolicy.of(POLICY.replace(wrong, right, 1))


def test_hosts_are_allowed_by_name_or_by_one_label() -> None:
    policy = StsPolicy.of(POLICY)
    assert policy.allows("MX.example.com.")
    assert policy.allows("a.mail.example.com")
    assert not any(map(policy.allows, ["mail.example.com", "a.b.mail.example.com", "mx.example.net", ""]))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_malformed(text: bytes) -> None:
    with suppress(MalformedPolicy):
        StsPolicy.of(text)
    policy_id([text, b"v=STSv1;" + text])


@pytest.mark.parametrize("filler", [b" ", b"\t", b":", b"a", b"a.", b"\n", b"\r", b"mx: *", b"x: y\n"])
def test_very_long_policy_takes_no_long_time(filler: bytes) -> None:
    started = time.process_time()
    for start in (b"mx:", b"x", b"version: STSv1\nmode: enforce\nmax_age: 1\nmx: a."):
        with suppress(MalformedPolicy):
            StsPolicy.of(start + filler * (65536 // len(filler)) + b"!")
    policy_id([b"v=STSv1;" + filler * (65536 // len(filler))])
    assert time.process_time() - started < LONG_S


NAMES = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z0-9]{1,10}){0,3}", fullmatch=True)


@given(
    st.sampled_from([StsMode.ENFORCE, StsMode.TESTING]),
    st.integers(0, 31557600),
    st.lists(NAMES, min_size=1, max_size=5, unique=True),
    st.randoms(use_true_random=False),
)
def test_policy_is_read_as_it_was_written(mode: StsMode, age: int, names: list[str], random: object) -> None:
    lines = ["version: STSv1", f"mode: {mode}", f"max_age: {age}"]
    random.shuffle(lines)  # type: ignore[attr-defined]
    text = "\n".join([*lines, *(f"mx: {name}" for name in names)]).encode()
    assert StsPolicy.of(text) == StsPolicy(mode=mode, max_age_s=age, mx=tuple(names))
