# SPDX-License-Identifier: GPL-3.0-or-later
"""Attachments in winmail.dat."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime.embedded import EmbeddedFile
from defang_worker.mime.tnef import embedded_files
from tests.support.tnef_maker import (
    ATTACHMENT,
    BINARY,
    DATA,
    MESSAGE,
    OBJECT,
    PROPERTIES,
    RENDERING,
    START,
    STRING,
    TITLE,
    UNICODE,
    attachment,
    attribute,
    properties,
)


def found(content: bytes) -> list[tuple[tuple[str, ...], bytes]]:
    return [(file.names, file.content) for file in embedded_files(content)]


def test_attachments_are_found() -> None:
    text = (
        START + attribute(MESSAGE, 0x9006, bytes(4)) + attachment(b"one", b"a.exe\0") + attachment(b"two", b"b.exe\0")
    )
    middle = len(START) + 15 + len(attachment(b"one", b"a.exe\0"))
    assert list(embedded_files(text)) == [
        EmbeddedFile("tnef", ("a.exe",), b"one", len(START) + 15, middle),
        EmbeddedFile("tnef", ("b.exe",), b"two", middle, len(text)),
    ]


def test_the_long_name_may_stand_in_the_properties_only() -> None:
    values = properties(
        (0x0E20, 0x0003, bytes(4)),
        (0x3704, STRING, b"BLOCKE~1.EXE\0"),
        (0x3707, UNICODE, "blocked größe.exe\0".encode("utf-16-le")),
        (0x3001, STRING, b"shown.exe\0"),
    )
    assert found(START + attachment(b"words", b"\0", (PROPERTIES, values))) == [
        (("BLOCKE~1.EXE", "blocked größe.exe", "shown.exe"), b"words")
    ]


def test_named_properties_and_values_of_all_sizes_are_passed_over() -> None:
    guid = bytes(16)
    by_number = properties((0x8000, 0x0040, bytes(8)), names=guid + struct.pack("<II", 0, 7))
    by_string = properties((0x8001, 0x000B, bytes(4)), names=guid + struct.pack("<II", 1, 6) + b"a\0b\0\0\0" + bytes(2))
    several = struct.pack("<HHII", 0x1003, 0x1234, 2, 1) + bytes(4) + struct.pack("<HHIII", 0x101E, 0x1235, 2, 1, 0)
    name = properties((0x3707, STRING, b"long.exe\0"))
    values = struct.pack("<I", 5) + by_number[4:] + by_string[4:] + several + bytes(4)[:0]
    values = values[: -len(struct.pack("<HHIII", 0x101E, 0x1235, 2, 1, 0))]
    values += struct.pack("<HHIIII", 0x101E, 0x1235, 2, 1, 0x61, 0) + name[4:]
    assert found(START + attachment(b"words", b"", (PROPERTIES, values))) == [(("long.exe",), b"words")]


@pytest.mark.parametrize(
    ("kind", "data"),
    [(0x0000, b""), (0x0000, bytes(4)), (0x0777, b"abc"), (0x00FB, b"abcd"), (0x00FD, b"abcde"), (0x00FE, b"")],
)
def test_a_property_of_a_rare_type_hides_no_name_behind_it(kind: int, data: bytes) -> None:
    value = data if kind in {0, 0x777} else struct.pack("<II", 1, len(data)) + data + bytes(-len(data) % 4)
    name = properties((0x3707, STRING, b"blocked.exe\0"))
    values = struct.pack("<IHH", 2, kind, 0x3702) + value + name[4:]
    assert found(START + attachment(b"words", b"a.txt\0", (PROPERTIES, values))) == [
        (("a.txt", "blocked.exe"), b"words")
    ]


def test_content_may_be_a_property() -> None:
    values = properties((0x3707, STRING, b"a.exe\0"), (0x3701, BINARY, b"some words"))
    stream = START + attribute(ATTACHMENT, RENDERING, bytes(14)) + attribute(ATTACHMENT, PROPERTIES, values)
    assert found(stream) == [(("a.exe",), b"some words")]


def test_an_attached_message_is_looked_into() -> None:
    inner = START + attachment(b"inner words", b"blocked.exe\0")
    values = properties((0x3001, STRING, b"A forwarded message\0"), (0x3701, OBJECT, bytes(16) + inner))
    stream = START + attribute(ATTACHMENT, RENDERING, bytes(14)) + attribute(ATTACHMENT, PROPERTIES, values)
    assert found(stream) == [(("A forwarded message",), inner), (("blocked.exe",), b"inner words")]


def test_names_are_read_in_the_code_page() -> None:
    code_page = attribute(MESSAGE, 0x9007, struct.pack("<II", 1251, 0))
    assert found(START + code_page + attachment(b"", "отчёт.exe\0".encode("cp1251"))) == [(("отчёт.exe",), b"")]


def test_the_text_of_the_message_is_a_file_without_a_name() -> None:
    body = attribute(MESSAGE, 0x800C, b"Hello\0")
    page = attribute(MESSAGE, 0x9003, properties((0x1013, BINARY, b"<p>Hello</p>")))
    assert found(START + body + page) == [((), b"Hello\0"), ((), b"<p>Hello</p>")]


def test_an_attachment_without_its_first_attribute_is_found() -> None:
    pieces = [(TITLE, b"a\0"), (DATA, b"1"), (DATA, b"2"), (TITLE, b"b\0")]
    stream = START + b"".join(attribute(ATTACHMENT, *piece) for piece in pieces)
    assert found(stream) == [(("a",), b"1"), (("b",), b"2")]


def test_what_is_cut_off_is_read_as_far_as_it_goes() -> None:
    stream = START + attachment(b"some words", b"blocked.exe\0")
    assert found(stream[:-6]) == [(("blocked.exe",), b"some w")]
    for length in range(len(stream)):
        assert len(found(stream[:length])) <= 1


def test_other_content_is_passed_over() -> None:
    assert found(b"") == []
    assert found(b"x" + START + attachment()) == []


@pytest.mark.parametrize("kind", [0x1001, 0x1003, 0x101E, 0x1102, 0x0001, 0x7777])
def test_a_count_of_billions_costs_nothing(kind: int) -> None:
    values = struct.pack("<IHHI", 0xFFFFFFFF, kind, 0x3707, 0xFFFFFFFF) + bytes(40)
    found(START + attachment(b"", b"a\0", (PROPERTIES, values)))


def test_messages_within_messages_are_followed_to_a_limit() -> None:
    stream = START + attachment(b"", b"innermost\0")
    for _ in range(40):
        values = properties((0x3701, OBJECT, bytes(16) + stream))
        stream = START + attribute(ATTACHMENT, PROPERTIES, values)
    assert len(found(stream)) == 11


ATTRIBUTES = st.builds(
    attribute,
    st.sampled_from([MESSAGE, ATTACHMENT]),
    st.sampled_from([RENDERING, TITLE, DATA, PROPERTIES, 0x9003, 0x9007, 0x800C]),
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda head, tail: head + tail, st.just(properties((0x3707, STRING, b"a\0"))), st.binary(max_size=20)
        ),
    ),
)


@given(pieces=st.lists(ATTRIBUTES, max_size=8), cut=st.integers(0, 40), tail=st.binary(max_size=20))
def test_any_bytes_are_read(pieces: list[bytes], cut: int, tail: bytes) -> None:
    stream = START + b"".join(pieces)
    stream = stream[: max(len(stream) - cut, 4)] + tail
    assert all(0 <= file.start <= file.end <= len(stream) for file in embedded_files(stream))
