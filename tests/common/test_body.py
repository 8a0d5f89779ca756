# SPDX-License-Identifier: GPL-3.0-or-later
"""The body's line ends, against a model that goes byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire.body import Body


def _model(data: bytes, *, strip: bool) -> tuple[bytes, bool]:
    """The same by one byte after the other: converted body, and whether it is suspicious."""
    out = bytearray()
    suspicious = False
    for at, byte in enumerate(data):
        if byte == 0x0D:
            if data[at + 1 : at + 2] == b"\n":
                continue
            suspicious = True
            if strip:
                continue
        if byte == 0:
            suspicious = True
        out.append(byte)
    return bytes(out), suspicious


def _convert(chunks: list[bytes], *, strip: bool) -> tuple[bytes, bool]:
    body = Body(strip_bare_cr=strip)
    out = b"".join([*(body.feed(chunk) for chunk in chunks), body.end()])
    return out, body.suspicious


_chunk = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"a", b"\xff"]), max_size=8).map(b"".join)


@given(st.lists(_chunk, max_size=6), st.booleans())
def test_any_cutting_of_the_body_gives_what_single_bytes_give(chunks: list[bytes], strip: bool) -> None:
    assert _convert(chunks, strip=strip) == _model(b"".join(chunks), strip=strip)


_line = st.sampled_from([b"abc", b"de\n", b"f\rg", b"hi\0", b"\r\n\r", b"\n\n\n"])


@given(st.lists(_line, max_size=12), st.integers(0, 5), st.booleans())
def test_lines_of_one_length_are_converted_as_all_others(lines: list[bytes], start: int, strip: bool) -> None:
    body = b"".join(line + b"\r\n" for line in lines)[start:]
    assert _convert([body], strip=strip) == _model(body, strip=strip)


@pytest.mark.parametrize(
    ("chunks", "strip", "out"),
    [
        (
            [b"line1\r\nline2\rbare\r", b"\nline3\r\nnul\0x\r\nend\r"],
            False,
            b"line1\nline2\rbare\nline3\nnul\0x\nend\r",
        ),
        ([b"x\r", b"y\r\r\nz\r\nw\rq"], True, b"xy\nz\nwq"),
        ([b"end\r"], True, b"end"),
    ],
)
def test_bare_carriage_returns_stay_or_are_dropped(chunks: list[bytes], strip: bool, out: bytes) -> None:
    assert _convert(chunks, strip=strip) == (out, True)


def test_lone_line_feeds_and_eight_bits_are_not_suspicious() -> None:
    assert _convert([b"a\nb\r\n\xe9"], strip=False) == (b"a\nb\n\xe9", False)


def test_an_empty_body_stays_empty() -> None:
    assert _convert([], strip=False) == (b"", False)
    assert _convert([b"", b""], strip=False) == (b"", False)
