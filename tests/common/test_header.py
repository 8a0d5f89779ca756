# SPDX-License-Identifier: GPL-3.0-or-later
"""The header's three forms, and what COMMANDS says of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire.header import Header, relayed_ip


def _header(*fields: tuple[bytes, bytes], validation_name: bytes | None = None) -> Header:
    header = Header(validation_name)
    for name, value in fields:
        header.add(name, value)
    return header


def test_plain_fields_are_the_same_in_all_three_files() -> None:
    header = _header((b"From", b"a@example.com"), (b"X-Odd", b"\xff\tx"))
    text = b"From: a@example.com\nX-Odd: \xff\tx\n"
    assert (header.for_scan(), header.unfolded(), header.pristine()) == (text, text, text)
    assert header.commands == []


def test_a_folded_field_keeps_its_lines_but_in_headers() -> None:
    header = _header((b"Received", b"from a\r\n\tby b\n for c"))
    assert header.for_scan() == b"Received: from a\n\tby b\n for c\n"
    assert header.unfolded() == b"Received: from a\tby b for c\n"
    assert header.pristine() == b"Received: from a\r\n\tby b\n for c\n"
    assert header.commands == []


def test_a_bare_carriage_return_becomes_a_blank_and_is_suspicious() -> None:
    header = _header((b"X", b"a\rb\r\r\n c"))
    assert header.for_scan() == b"X: a b \n c\n"
    assert header.unfolded() == b"X: ab c\n"
    assert header.pristine() == b"X: a\rb\r\r\n c\n"
    assert header.commands == [b"!\n"]


def test_only_the_first_content_type_reaches_the_filter() -> None:
    header = _header((b"Content-Type", b"text/plain"), (b"Content-type", b"text/html"), (b"CONTENT-TYPE", b"x/y"))
    assert header.for_scan() == header.unfolded() == b"Content-Type: text/plain\n"
    assert header.pristine().count(b"\n") == 3
    assert header.content_types == 3


def test_subject_and_message_id_are_noted_without_line_ends() -> None:
    header = _header((b"subject", b"a\n\tb"), (b"MESSAGE-ID", b"<x%y z@id>"), (b"Subject", b""))
    assert header.commands == [b"Ua%09b\n", b"X<x%25y%20z@id>\n", b"U\n"]


def test_the_suspicion_stands_before_the_subject() -> None:
    assert _header((b"Subject", b"a\rb")).commands == [b"!\n", b"Uab\n"]


@pytest.mark.parametrize("name", [b"MIME-Version", b"mime-version"])
def test_a_mime_version_is_noticed(name: bytes) -> None:
    assert _header((name, b"1.0")).has_mime_version
    assert not _header((b"X", b"1.0")).has_mime_version


@pytest.mark.parametrize(
    ("value", "ip"),
    [
        (b"10.1.2.4 junk", b"10.1.2.4"),
        (b"10.1.2.4", b"10.1.2.4"),
        (b" \t010.1.2.7", b"10.1.2.7"),
        (b"[10.1.2.5]", None),
        (b"10.1.2.256", None),
        (b"10.1.2", None),
        (b"9999999999.1.1.1", None),
        (b"", None),
    ],
)
def test_a_validation_header_begins_with_an_address(value: bytes, ip: bytes | None) -> None:
    assert relayed_ip(value) == ip


def test_a_validation_header_is_told_by_name_and_case() -> None:
    key = b"X-MIMEDefang-Relay-0a1b"
    header = _header((key, b"10.1.2.4 x"), (key.lower(), b"10.1.2.5"), (key, b"none"), validation_name=key)
    assert header.commands == [b"J10.1.2.4\n"]
    assert header.validated
    assert header.for_scan().count(b"\n") == 3


def test_a_header_without_a_valid_address_validates_nothing() -> None:
    header = _header((b"K", b"none"), validation_name=b"K")
    assert not header.validated
    assert header.commands == []


_value = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"x", b"\xff"]), max_size=12).map(b"".join)


@given(_value)
def test_no_carriage_return_reaches_the_filter(value: bytes) -> None:
    header = _header((b"X", value))
    assert b"\r" not in header.for_scan() + header.unfolded()
    assert header.unfolded() == b"X: " + value.replace(b"\r", b"").replace(b"\n", b"") + b"\n"
    assert header.pristine() == b"X: " + value + b"\n"
    assert (header.commands == [b"!\n"]) == (b"\r" in value.replace(b"\r\n", b""))
