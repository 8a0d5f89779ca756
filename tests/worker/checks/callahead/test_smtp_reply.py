# SPDX-License-Identifier: GPL-3.0-or-later
"""Replies of SMTP servers out of their lines, the odd ones too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.checks.callahead.reply import MAX_LINES, Reply, read
from defang_worker.checks.faults import ServiceFault


def reply(text: bytes) -> Reply:
    lines = iter(text.split(b"\n"))
    return read(lambda: next(lines))


@pytest.mark.parametrize(
    ("text", "code", "dsn", "words"),
    [
        (b"250 2.1.5 Recipient ok\r", 250, "2.1.5", "Recipient ok"),
        (b"250\r", 250, "", ""),
        (b"250 \r", 250, "", ""),
        (b"550-5.1.1 The account\r\n550 5.1.1 does not exist\r", 550, "5.1.1", "The account\ndoes not exist"),
        (b"550-5.1.1 a\r\n550-\r\n550\r", 550, "5.1.1", "a"),
        (b"550 User unknown", 550, "", "User unknown"),
        (b"550 5.1.1", 550, "5.1.1", ""),
        (b"550 4.1.1 of another kind", 550, "", "of another kind"),
        (b"550 5.1.1.1 is an address", 550, "", "5.1.1.1 is an address"),
        (b"450 4.2.0 Gr\xc3\xbc\xc3\x9fe \x07\xff", 450, "4.2.0", "Gr??e ??"),
        (b"354 go on", 354, "", "go on"),
    ],
)
def test_reply_is_code_dsn_and_text(text: bytes, code: int, dsn: str, words: str) -> None:
    told = reply(text)
    assert (told.code, told.kind, told.dsn, told.text) == (code, code // 100, dsn, words)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"hello", b"25", b"2500 ok", b"250x ok", b"150 ok", b"650 ok", b"\xff\xfe\0", b" 250 ok"),
        *(b"250-a\r\n251 b", b"550-a\r\n250 b", b"250-a\n\n", b"HTTP/1.1 200 OK"),
    ],
)
def test_what_is_no_reply_is_a_fault(text: bytes) -> None:
    with pytest.raises(ServiceFault, match="no SMTP reply"):
        reply(text)


def test_endless_reply_is_a_fault() -> None:
    with pytest.raises(ServiceFault, match=f"more than {MAX_LINES} lines"):
        read(lambda: b"250-more")
    assert len(reply(b"250-x\n" * (MAX_LINES - 1) + b"250 x").lines) == MAX_LINES


def test_text_for_a_client_is_bounded() -> None:
    assert len(reply(b"550 " + b"x" * 4000).text) == 1000


@given(st.binary(max_size=200), st.sampled_from([b"250 ", b"550-", b"450", b""]))
def test_any_bytes_are_a_reply_of_printable_ascii_or_a_fault(rest: bytes, start: bytes) -> None:
    try:
        told = reply(start + rest + b"\n250 end")
    except (ServiceFault, StopIteration):
        return
    assert all(" " <= char <= "~" or char == "\n" for char in told.text)
    assert told.dsn == "" or told.dsn[0] == str(told.kind)
