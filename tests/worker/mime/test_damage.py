# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged transfer encodings: their defects, and the contents that other readers see."""

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime.damage import (
    content_of_few_lines,
    damages,
    first_odd_pair,
    irregularities,
    looks_like_base64,
    other_readings,
)
from defang_worker.mime.decode import decode_body
from defang_worker.mime.defects import DEFECTS

WORDS = b"Plain words, line 1, not a program.\r\nPlain words, line 2, not a program.\r\n"
ENCODED = base64.encodebytes(WORDS * 3)
PADDED = base64.encodebytes(WORDS)
LINES = ENCODED.splitlines()


def named(body: bytes, encoding: str = "base64") -> set[str]:
    return {damage.name for damage in damages(body, encoding)}


def contents(body: bytes, encoding: str = "base64") -> list[bytes]:
    usual = decode_body(body, encoding)
    readings = other_readings(body, encoding, usual, damages(body, encoding))
    return [usual, *(reading.content for reading in readings)]


SOUND = [
    b"",
    b"\r\n\r\n",
    b"aGVsbG8=",
    b"aGVsbG8h\r\n",
    ENCODED,
    ENCODED.replace(b"\n", b"\r\n"),
    ENCODED.replace(b"\n", b" \r\n"),
    b"\n" + ENCODED + b"\n\n",
    base64.b64encode(WORDS * 3),
    base64.encodebytes(WORDS * 2000),
    base64.encodebytes(WORDS * 2000).replace(b"\n", b"\r\n").rstrip(),
    b"\n".join(base64.b64encode(WORDS[at : at + 48]) for at in range(0, len(WORDS), 48)),
    b"\n".join(ENCODED.replace(b"\n", b"")[at : at + 70] for at in range(0, 300, 70)),
]


@pytest.mark.parametrize("body", SOUND)
def test_sound_base64_has_no_defect_and_one_reading(body: bytes) -> None:
    assert damages(body, "base64") == []
    assert irregularities(b"--" + body + b"\n--", 2, 2 + len(body)) == []
    assert contents(body) == [decode_body(body, "base64")]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"VGhp!*cyBpcyB0\n", {"base64-stray-characters"}),
        (b"VGhp-cyB_pcyB0", {"base64-stray-characters"}),
        (b"VGhp cyBp cyB0\nVGhpcyBpcyB0\n", {"base64-trailing-data"}),
        (b"VGhpcyBpcyB0\nVGhp cyBp cyB0\n", {"base64-trailing-data"}),
        (LINES[0] + b"\n" + LINES[0][:40] + b" " + LINES[0][40:] + b"\n", {"base64-stray-characters"}),
        (LINES[0] + b"\nand some words\n" + LINES[0] + b"\n", {"base64-stray-characters", "base64-trailing-data"}),
        (b"VGhp\0cyBpcyB0", {"base64-stray-characters"}),
        (b"VGhpcyBpcw==\nIHRoZSByZXN0\n", {"base64-inner-padding", "base64-odd-lines"}),
        (b"VGhpcyBpcw==IHRoZSByZXN0\n", {"base64-inner-padding"}),
        (b"VGh=pcyBpcyB0aGUgZW5k\n", {"base64-inner-padding"}),
        (b"VG=hpcyBpcyB0aGUgZW5k\n", {"base64-inner-padding", "base64-bad-length"}),
        (b"====\n" + ENCODED, {"base64-inner-padding", "base64-bad-length"}),
        (b"VGhpcyBpcyB0aGUgZW5kIQ", {"base64-bad-length"}),
        (b"VGhpcyBpcyB0aGUgZW5kX", {"base64-bad-length"}),
        (b"VGhpcyBpcyB0aGUgZW5kIQ=", {"base64-bad-length"}),
        (b"VGhpcyBpcyB0aGUgZW5k====", {"base64-bad-length"}),
        (ENCODED + b"-- \nSent by the list\n", {"base64-stray-characters", "base64-trailing-data"}),
        (ENCODED + b"\nSent by the list\n", {"base64-trailing-data"}),
        (PADDED + b"-- \nSent by the list\n", {"base64-trailing-data"}),
        (PADDED + b"_____________________\nlist@lists.example\n", {"base64-trailing-data"}),
        (ENCODED + b"\nThe list:\nUnsubscribe\n", {"base64-trailing-data"}),
        (b"Here comes the file:\n\n" + ENCODED, {"base64-trailing-data"}),
        (b"V\nG\nh\np\n", {"base64-odd-lines"}),
        (LINES[0] + b"\n\n" + LINES[1] + b"\n", {"base64-odd-lines"}),
        (base64.b64encode(WORDS * 30), {"base64-odd-lines"}),
    ],
)
def test_damaged_base64_has_defects(body: bytes, names: set[str]) -> None:
    assert named(body) == names <= set(DEFECTS)
    assert named(body.replace(b"\n", b"\r\n")) == names
    assert irregularities(b"--" + body, 2, 2 + len(body)) == damages(body, "base64")


@pytest.mark.parametrize("place", [0, 3, 76, 77, 78 * 1024, 78 * 1500 + 5, -4])
@pytest.mark.parametrize("damage", [b"!", b"=", b"\n\n", b"-", b" "])
def test_damage_is_seen_wherever_it_stands_in_a_large_body(place: int, damage: bytes) -> None:
    body = base64.encodebytes(WORDS * 2000).replace(b"\n", b"\r\n")
    at = place % len(body)
    damaged = body[:at] + damage + body[at + len(damage) :]
    if not damaged[:at].strip() and not damage.strip():  # blank lines before the data
        return
    assert irregularities(damaged, 0, len(damaged)) == damages(damaged, "base64")


def test_defects_tell_where_they_are() -> None:
    assert [damage.offset for damage in damages(PADDED + b"VGhpcyBp\nVGhp!*cyBpcyB0\n", "base64")] == [
        len(PADDED),
        len(PADDED) + 9,
    ]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"VGhpcyBpcw==\nIHRoZSByZXN0\n", {b"This is", b"This is the rest"}),
        (b"VGhp-cyB_pcyB0", {base64.urlsafe_b64decode(b"VGhp-cyB_pcyB0==")}),
        (b"====VGhpcyBpcw==", {b"This is"}),
        (ENCODED + b"-- \nSent by the list\n", {WORDS * 3, b"-- \nSent by the list\n"}),
        (b"Here comes the list:\n\n" + ENCODED, {WORDS * 3, b"Here comes the list:\n"}),
        (base64.encodebytes(WORDS[:75]) + b"Bye and thank you\n", {WORDS[:75]}),
        (b"VGhpcyBpcyB0aGUgZW5kX", {b"This is the end"}),
    ],
)
def test_damaged_base64_is_read_in_all_ways(body: bytes, wanted: set[bytes]) -> None:
    assert wanted <= set(contents(body))
    assert len(set(contents(body))) == len(contents(body))


def test_a_sign_within_four_is_read_as_nothing_and_as_the_end() -> None:
    assert {b"This is", b"Th"} <= set(contents(b"VGh=pcyBpcw=="))


@pytest.mark.parametrize(
    ("body", "is_damaged"),
    [
        (b"a=3Db=\r\nc=\nd =20\n=", False),
        (b"a=3D=3D" + quopri.encodestring("größer".encode()), False),
        (b"=4d=41RKER", True),
        (b"=G7", True),
        (b"soft break = \nhere", True),
        (b"soft break =\t\r\nhere", True),
        (b"a==41", True),
        (b"a=\rb", True),
        (b"a=4", True),
    ],
)
def test_damaged_quoted_printable_has_a_defect(body: bytes, is_damaged: bool) -> None:
    assert named(body, "quoted-printable") == ({"damaged-quoted-printable"} if is_damaged else set())
    assert (first_odd_pair(b"=" + body + b"=", 1, len(body) + 1) >= 0) is is_damaged


def test_a_padded_soft_break_is_read_as_break_and_as_text() -> None:
    assert {b"MARKER", b"MARK= \nER"} <= set(contents(b"MARK= \nER", "quoted-printable"))
    assert contents(b"MARK= ", "quoted-printable")[0] == b"MARK"


def test_doubled_signs_are_read_in_both_ways() -> None:
    assert contents(b"==4DARKER", "quoted-printable") == [b"=MARKER", b"=4DARKER"]


def test_other_encodings_have_neither_defects_nor_readings() -> None:
    assert damages(b"==\0", "7bit") == []
    assert contents(b"==\0", "7bit") == [b"==\0"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ENCODED, True),
        (ENCODED.replace(b"\n", b"\r\n"), True),
        (b"\n" + ENCODED + b"\n\n", True),
        (base64.b64encode(WORDS), True),
        (LINES[1][:40] + b"\n" + LINES[0], False),
        (ENCODED[:-3], False),
        (b"Hello", False),
        (b"0123456789abcdef" * 4, False),
        (b"Wordwordwordwordwordwordwordwordwordword", False),
        (b"Plain words, line 1\n", False),
        (ENCODED + b"Regards\n", False),
        (b"", False),
    ],
)
def test_undeclared_base64_is_told_from_text(body: bytes, expected: bool) -> None:
    assert looks_like_base64(body) is expected


@given(st.binary(max_size=400), st.sampled_from([b"\n", b"\r\n"]))
def test_what_was_encoded_is_sound(content: bytes, line_end: bytes) -> None:
    body = base64.encodebytes(content).replace(b"\n", line_end)
    assert damages(body, "base64") == []
    assert irregularities(body, 0, len(body)) == []
    assert damages(quopri.encodestring(content).replace(b"\n", line_end), "quoted-printable") == []


PIECES = st.sampled_from([b"=", b"==", b"\n", b"\r\n", b" ", b"AAAA", b"AAA", b"-_", b"words and words", b"!", b"=4d"])


@given(
    st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=12), st.sampled_from(["base64", "quoted-printable"])
)
def test_any_bytes_are_read(pieces: list[bytes], encoding: str) -> None:
    body = b"".join(pieces)
    assert all(damage.name in DEFECTS and 0 <= damage.offset <= len(body) for damage in damages(body, encoding))
    assert all(contents(body, encoding)[1:])
    assert irregularities(body, 0, len(body)) == damages(body, "base64")
    assert looks_like_base64(body) in {True, False}
    content = content_of_few_lines(b"-" + body + b"-", 1, 1 + len(body))
    assert content is None or (damages(body, "base64") == [] and content == decode_body(body, "base64"))


LINES_OF_QUARTETS = st.lists(st.integers(4, 300).map(lambda count: b"QUJD" * count), min_size=1, max_size=4)


@given(LINES_OF_QUARTETS, st.sampled_from([b"", b"=", b"QQ==", b"QUI=", b"A"]), st.sampled_from([b"\n", b"\r\n"]))
def test_few_lines_of_quartets_are_decoded_unless_one_is_odd(lines: list[bytes], last: bytes, line_end: bytes) -> None:
    body = line_end.join(lines) + last + line_end
    is_odd = damages(body, "base64") != [] or len(body) > 4 * 1024
    assert content_of_few_lines(body, 0, len(body)) == (None if is_odd else decode_body(body, "base64"))


@pytest.mark.parametrize("body", [b"=" * 300_000, b"A=" * 150_000, b"A\n" * 100_000, b"=\n" * 100_000, b"= " * 100_000])
def test_hostile_bodies_are_read_in_linear_time(body: bytes) -> None:
    for encoding in ("base64", "quoted-printable"):
        assert contents(body, encoding)
    looks_like_base64(body)
