# SPDX-License-Identifier: GPL-3.0-or-later
"""The walker through CMS: every way to write a layer, and any bytes."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from defang_worker.mime import cms
from defang_worker.mime.cms import Kind, Layer, read_layer
from defang_worker.mime.contents import begins_cms, is_mere_text
from tests.support import cms_maker as maker
from tests.support.cms_maker import (
    COMPRESSED,
    DATA,
    EXPLICIT_0,
    IDENTIFIER,
    PIECES,
    SEQUENCE,
    SET,
    SIGNED,
    STRING,
    VERSION,
    element,
    in_pieces,
    signed,
    signed_data,
    streamed,
)

WORDS = b"Content-Type: text/plain\r\n\r\nsome words, and many more of them, so that lengths take two bytes" * 3
TOLD = Layer(Kind.SIGNED, WORDS, Kind.DATA)


def all_streamed(string: bytes) -> bytes:
    content = streamed(SEQUENCE, element(IDENTIFIER, DATA), streamed(EXPLICIT_0, string))
    layer = streamed(SEQUENCE, VERSION, streamed(SET, streamed(SEQUENCE, streamed(SET))), content, element(SET))
    return streamed(SEQUENCE, element(IDENTIFIER, SIGNED), streamed(EXPLICIT_0, layer))


@pytest.mark.parametrize(
    "string",
    [
        element(STRING, WORDS),
        in_pieces(WORDS, 100),
        in_pieces(WORDS, 1),
        in_pieces(WORDS, 100, streamed),
        element(PIECES, in_pieces(WORDS[:50], 7, streamed), in_pieces(WORDS[50:], 100)),
        streamed(PIECES, in_pieces(WORDS[:50], 7), streamed(PIECES), in_pieces(WORDS[50:], 100, streamed)),
        bytes([STRING, 0x84]) + len(WORDS).to_bytes(4, "big") + WORDS,
        bytes([STRING, 0x80 + 100]) + len(WORDS).to_bytes(100, "big") + WORDS,
    ],
)
def test_a_string_may_be_written_in_many_ways(string: bytes) -> None:
    assert read_layer(maker.cms(SIGNED, signed_data(string))) == TOLD
    assert read_layer(all_streamed(string)) == TOLD


@pytest.mark.parametrize(
    ("data", "layer"),
    [
        (signed(None), Layer(Kind.SIGNED, None, Kind.DATA)),
        (signed(b""), Layer(Kind.SIGNED, b"", Kind.DATA)),
        (signed(b"x", maker.SMIME + b"\x63"), Layer(Kind.SIGNED, b"x", None)),
        (signed(b"x", COMPRESSED), Layer(Kind.SIGNED, b"x", Kind.COMPRESSED)),
        (maker.cms(DATA, element(STRING, b"x")), Layer(Kind.DATA, b"x")),
        (maker.cms(DATA, in_pieces(b"xyz", 1)), Layer(Kind.DATA, b"xyz")),
        (
            maker.cms(maker.DIGESTED, maker.compressed_data(b"x")),
            Layer(Kind.DIGESTED, b"x", Kind.DATA),
        ),
        (
            maker.cms(maker.AUTHENTICATED, maker.compressed_data(b"x")),
            Layer(Kind.AUTHENTICATED, b"x", Kind.DATA),
        ),
        (maker.cms(COMPRESSED, maker.compressed_data(b"x")), Layer(Kind.COMPRESSED, b"x", Kind.DATA)),
        (maker.secret(maker.ENVELOPED), Layer(Kind.ENVELOPED)),
        (maker.secret(maker.ENCRYPTED), Layer(Kind.ENCRYPTED)),
        (maker.secret(maker.AUTH_ENVELOPED), Layer(Kind.AUTH_ENVELOPED)),
    ],
)
def test_each_kind_of_layer_is_read(data: bytes, layer: Layer) -> None:
    assert read_layer(data) == layer
    assert read_layer(data + b"\r\nwhat a mail server put behind it") == layer


def test_in_pkcs_7_a_content_of_another_type_is_no_string() -> None:
    inner = signed_data(element(STRING, WORDS))
    layer = read_layer(maker.cms(SIGNED, signed_data(inner, SIGNED)))
    assert layer == Layer(Kind.SIGNED, inner, Kind.SIGNED)
    assert read_layer(inner, Kind.SIGNED) == TOLD


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"0",
        b"some words",
        element(SEQUENCE),
        element(SEQUENCE, VERSION),
        element(SEQUENCE, element(SEQUENCE, VERSION)),
        element(SEQUENCE, element(IDENTIFIER, b"\x2a\x03"), element(EXPLICIT_0, VERSION)),
        element(SET, element(IDENTIFIER, SIGNED)),
        bytes([SEQUENCE, 0xFF]) + bytes(200),
    ],
)
def test_what_is_no_cms_is_told_from_what_is_damaged(data: bytes) -> None:
    assert read_layer(data) is None


@pytest.mark.parametrize(
    "data",
    [
        maker.cms(SIGNED, VERSION),
        maker.cms(SIGNED, element(SEQUENCE, VERSION, element(SET))),
        maker.cms(SIGNED, element(SEQUENCE, VERSION, element(SEQUENCE, VERSION))),
        maker.cms(SIGNED, element(SEQUENCE, VERSION, element(SEQUENCE, element(IDENTIFIER, DATA), VERSION))),
        maker.cms(SIGNED, signed_data(b"")),
        maker.cms(DATA, element(SEQUENCE, VERSION)),
        maker.cms(SIGNED, b"\x1f\x81\x01\0"),
        maker.cms(SIGNED, b"\x04\x80\0\0"),
        element(SEQUENCE, element(IDENTIFIER, SIGNED)),
    ],
)
def test_a_layer_that_is_damaged_carries_nothing_and_is_not_whole(data: bytes) -> None:
    layer = read_layer(data)
    assert layer is not None
    assert (layer.content, layer.is_whole) == (None, False)


def test_of_a_string_that_is_damaged_the_pieces_before_are_read() -> None:
    string = element(PIECES, element(STRING, b"some "), element(STRING, b"words"), VERSION)
    assert read_layer(maker.cms(SIGNED, signed_data(string))) == Layer(Kind.SIGNED, b"some words", Kind.DATA, False)


@pytest.mark.parametrize("write", [lambda: signed(WORDS), lambda: all_streamed(in_pieces(WORDS, 50, streamed))])
def test_what_is_cut_off_is_read_as_far_as_it_goes(write: Callable[[], bytes]) -> None:
    data = write()
    end_of_content = data.rindex(WORDS[-20:]) + 20
    for length in range(len(data)):
        layer = read_layer(data[:length])
        content = (layer.content or b"") if layer is not None else b""
        assert WORDS.startswith(content)
        if length > end_of_content - 100:
            assert content
        assert layer is None or not layer.is_whole or length >= end_of_content


def test_pieces_in_pieces_end_at_a_limit() -> None:
    string = element(STRING, WORDS)
    for _ in range(100):
        string = streamed(PIECES, string)
    assert read_layer(maker.cms(SIGNED, signed_data(string))) == Layer(Kind.SIGNED, b"", Kind.DATA, False)


@pytest.mark.parametrize(
    "data",
    [
        element(SEQUENCE, element(IDENTIFIER, SIGNED), bytes([EXPLICIT_0, 0x80]) + b"\x30\x80" * 500),
        maker.cms(SIGNED, signed_data(streamed(PIECES, element(STRING) * 500))),
        maker.cms(SIGNED, signed_data(in_pieces(WORDS * 3, 1))),
        maker.cms(SIGNED, element(SEQUENCE, VERSION, streamed(SET, element(SET) * 500), maker.encapsulated(b""))),
        maker.cms(SIGNED, element(SEQUENCE, VERSION, element(SET) * 500)),
    ],
    ids=["open", "empty pieces", "small pieces", "within an element passed over", "elements passed over"],
)
def test_elements_are_gone_through_to_a_limit(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cms, "_MAX_ELEMENTS", 400)
    layer = read_layer(data)
    assert layer is not None
    assert not layer.is_whole
    assert len(layer.content or b"") < 400


@given(st.binary(max_size=300))
@example(signed(WORDS))
def test_any_bytes_are_read_or_not(data: bytes) -> None:
    for kind in (None, *Kind):
        layer = read_layer(data, kind)
        assert kind is None or layer is not None
        assert layer is None or layer.content is None or len(layer.content) <= len(data)


@given(st.data())
def test_a_damaged_layer_never_raises(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([signed(WORDS), all_streamed(in_pieces(WORDS, 50, streamed))])))
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=5)):
        whole[at] = byte
    layer = read_layer(bytes(whole))
    assert layer is None or layer.content is None or len(layer.content) <= len(whole)


@pytest.mark.parametrize("content", [b"", b"x", WORDS, WORDS * 300])
def test_every_layer_is_recognized_by_its_first_bytes(content: bytes) -> None:
    layers = [signed(content), maker.compressed(content), all_streamed(in_pieces(content, 1000)), maker.secret()]
    for layer in layers:
        assert begins_cms(layer)
        assert not is_mere_text(layer, 0, len(layer))


@pytest.mark.parametrize("text", [b"0 items\n", b"0.5 l of water", b"0" * 500, b"00:00 begin"])
def test_a_text_that_begins_with_a_nought_is_none(text: bytes) -> None:
    assert not begins_cms(text)
