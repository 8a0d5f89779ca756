# SPDX-License-Identifier: GPL-3.0-or-later
"""BIMI's texts: assertion records, and the field that selects one."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.checks.auth.bimi_record import BimiRecord, MalformedAssertion, assertions, selector_of

IMAGE = "https://example.com/i.svg"
PROOF = "https://example.com/vmc.pem"
# A text of 64 KB is read in milliseconds; with time squared it would be minutes.
LONG_S = 5.0


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (f"v=BIMI1; l={IMAGE}; a={PROOF}", BimiRecord(location=IMAGE, authority=PROOF)),
        (f"v=BIMI1;l={IMAGE};", BimiRecord(location=IMAGE)),
        (f" v = BIMI1 ;\t a =\t{PROOF} ; l = ; ", BimiRecord(authority=PROOF)),
        ("v=BIMI1; l=; a=;", BimiRecord()),
        ("v=BIMI1; l=", BimiRecord()),
        (f"v=BIMI1; l={IMAGE}; avp=brand; lps=x; future=1", BimiRecord(location=IMAGE, avatar="brand")),
        (f"v=BIMI1; l={IMAGE}; avp=both", BimiRecord(location=IMAGE)),
        (
            "v=BIMI1; l=https://cdn.example.com:8443/a%2Cb?c=d#e",
            BimiRecord(location="https://cdn.example.com:8443/a%2Cb?c=d#e"),
        ),
        ("v=BIMI1; l=https://example.com/I.SVGZ", BimiRecord(location="https://example.com/I.SVGZ")),
        ("v=BIMI1; l=https://example.com/v1.2/logo", BimiRecord(location="https://example.com/v1.2/logo")),
        ("v=BIMI1; l=https://xn--bcher-kva.example/i.svg", BimiRecord(location="https://xn--bcher-kva.example/i.svg")),
    ],
)
def test_record_is_read(text: str, record: BimiRecord) -> None:
    assert assertions([text.encode()]) == [text.encode()]
    assert BimiRecord.of(text.encode()) == record
    assert record.is_declined is (not record.location and not record.authority)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("v=BIMI1", "no l="),
        (f"v=BIMI1; L={IMAGE}", "no l="),
        (f"v=BIMI1; l={IMAGE}; l={IMAGE}", "two of l="),
        ("v=BIMI1; l", "malformed"),
        (f"v=BIMI1;; l={IMAGE}", "malformed"),
        ("v=BIMI1; l=http://example.com/i.svg", "not by HTTPS"),
        ("v=BIMI1; l=//example.com/i.svg", "not by HTTPS"),
        ("v=BIMI1; l=data:image/svg+xml;base64", "malformed"),
        ("v=BIMI1; l=file:///etc/passwd", "not by HTTPS"),
        (f"v=BIMI1; l={IMAGE},{IMAGE}", "no URI"),
        (f"v=BIMI1; l={IMAGE} {IMAGE}", "no URI"),
        ("v=BIMI1; l=https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/i.svg", "no URI"),
        ("v=BIMI1; l=https://example.com/<i>.svg", "no URI"),
        ("v=BIMI1; l=https://[::1/i.svg", "no URI"),
        ("v=BIMI1; l=https://example.com:99999/i.svg", "no URI"),
        ("v=BIMI1; l=https://example.com:0/i.svg", "domain name"),
        ("v=BIMI1; l=https://192.0.2.1/i.svg", "domain name"),
        ("v=BIMI1; l=https://[2001:db8::1]/i.svg", "domain name"),
        ("v=BIMI1; l=https://localhost/i.svg", "domain name"),
        ("v=BIMI1; l=https://user:pass@example.com/i.svg", "domain name"),
        ("v=BIMI1; l=https:///i.svg", "domain name"),
        (f"v=BIMI1; l={IMAGE}; a=http://example.com/vmc.pem", "a= is not by HTTPS"),
        ("v=BIMI1; l=https://example.com/i.png", "no SVG"),
        ("v=BIMI1; l=https://example.com/i.JPG?x=.svg", "no SVG"),
        (f"v=BIMI1; l=https://example.com/{'x' * 2000}", "no URI"),
        ("v=BIMI1; l=;" + " x=;" * 40, "many tags"),
    ],
)
def test_malformed_record_is_not_repaired(text: str, reason: str) -> None:
    assert assertions([text.encode()])
    with pytest.raises(MalformedAssertion, match=reason):
        BimiRecord.of(text.encode())


@pytest.mark.parametrize("text", [b"", b"v=BIMI2; l=", b"v=bimi1; l=", b"V=BIMI1; l=", b"l=; v=BIMI1", b"v=BIMI10; l="])
def test_text_of_another_kind_is_no_record(text: bytes) -> None:
    assert assertions([text, b"v=spf1 -all"]) == []


@pytest.mark.parametrize(
    ("values", "selector"),
    [
        ([b" v=BIMI1; s=brand"], "brand"),
        ([b"v=BIMI1;\r\n s=Brand.Two;"], "brand.two"),
        ([b"v=BIMI1; s=brand"] * 2, ""),
        ([], ""),
        ([b"s=brand; v=BIMI1"], ""),
        ([b"s=brand"], ""),
        ([b"v=BIMI1"], ""),
        ([b"v=BIMI1; s="], ""),
        ([b"v=BIMI1; s=a..b"], ""),
        ([b"v=BIMI1; s=_dmarc"], ""),
        ([b"v=BIMI1; s=a b"], ""),
        ([b"v=BIMI1; s=" + b"a" * 64], ""),
        ([b"v=BIMI1; s=\xff"], ""),
        ([b"v=BIMI1; s=a; s=b"], ""),
    ],
)
def test_selector_is_that_of_the_one_field(values: list[bytes], selector: str) -> None:
    assert selector_of(values) == selector


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_malformed(text: bytes) -> None:
    for one in (text, b"v=BIMI1; l=" + text, b"v=BIMI1; l=https://" + text):
        with suppress(MalformedAssertion):
            record = BimiRecord.of(one)
            assert record.location.startswith("https://") or not record.location
    selector_of([text])
    selector_of([b"v=BIMI1; s=" + text])


@pytest.mark.parametrize("filler", [" ", "\t", ";", "=", "a", "a.", "-", "%41", "l=;", "\N{SNOWMAN}"])
def test_very_long_texts_take_no_long_time(filler: str) -> None:
    started = time.process_time()
    text = "v=BIMI1; l=https://a.example/" + filler * (65536 // len(filler)) + "!"
    with suppress(MalformedAssertion):
        BimiRecord.of(text.encode())
    selector_of([text.replace("l=https://a.example/", "s=").encode()])
    assert time.process_time() - started < LONG_S
