# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of templates: what is written is read, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import template as wire
from defang_common.wire.errors import Malformed

NUMBERS = st.integers(0, 9_999_999_999)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(NUMBERS, TEXTS)
def test_what_is_written_is_read(number: int, text: str) -> None:
    assert wire.decode(wire.encode_fault(text)) == wire.Fault(text)
    assert wire.decode(wire.encode_unforkable(text)) == wire.Unforkable(text)
    assert wire.decode(wire.encode_serving(number)) == wire.Serving(number)
    assert wire.decode(wire.encode_failed(number, text)) == wire.Failed(number, text)
    assert wire.decode_order(wire.encode_order(number)) == number
    assert wire.decode(wire.HELLO) == wire.Hello()
    assert wire.decode(wire.READY) == wire.Ready()


@given(st.one_of(st.binary(), st.sampled_from([b"serving", b"failed", b"fault"]).flatmap(lambda w: st.just(w + b" x"))))
def test_any_bytes_are_read_or_refused(packet: bytes) -> None:
    for decode in (wire.decode, wire.decode_order):
        try:
            decode(packet)
        except Malformed:
            continue


@pytest.mark.parametrize(
    "packet", [b"", b"serving", b"serving -1", b"serving 1x", b"template 2", b"READY", b"serving 12345678901"]
)
def test_what_is_none_of_the_packets_is_refused(packet: bytes) -> None:
    with pytest.raises(Malformed):
        wire.decode(packet)


def test_text_that_is_too_long_is_cut() -> None:
    assert len(wire.encode_fault("ä" * wire.MAX_PACKET_BYTES)) == wire.MAX_PACKET_BYTES
