# SPDX-License-Identifier: GPL-3.0-or-later
"""New entities read back as what they were made of, by our parser and by the standard library's."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import canonical, entity, parse, text_entity
from defang_worker.mime.compose import MAX_LINE_BYTES

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=300)


@given(TEXTS)
def test_text_is_read_back(text: str) -> None:
    root = parse(text_entity(text)).root
    assert root.content_type == "text/plain"
    assert root.text == (text if text.endswith("\n") or not text else text + "\n")


@given(TEXTS, st.booleans())
def test_new_text_is_legal_mail(text: str, eight_bit: bool) -> None:
    raw = text_entity(text, eight_bit=eight_bit)
    assert eight_bit or raw.isascii()
    assert all(len(line) <= MAX_LINE_BYTES for line in raw.split(b"\n"))
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert not message.defects
    assert message.get_payload(decode=True) == parse(raw).root.content


@pytest.mark.parametrize(
    ("text", "eight_bit", "encoding", "charset"),
    [
        ("plain", False, "7bit", "us-ascii"),
        ("x" * 1000, False, "quoted-printable", "us-ascii"),
        ("Grüße an alle, die das lesen", False, "quoted-printable", "utf-8"),
        ("Grüße an alle, die das lesen", True, "8bit", "utf-8"),
        ("日本語", False, "base64", "utf-8"),
        ("nul \0", False, "base64", "us-ascii"),
    ],
)
def test_encoding_is_chosen_by_the_text(text: str, eight_bit: bool, encoding: str, charset: str) -> None:
    root = parse(text_entity(text, eight_bit=eight_bit)).root
    assert (root.transfer_encoding, root.charset) == (encoding, charset)


def test_a_charset_that_can_express_the_text_is_used() -> None:
    assert parse(entity("text/html", "Grüße", charset="iso-8859-1")).root.content == b"Gr\xfc\xdfe\n"
    assert parse(entity("text/html", "日本", charset="iso-8859-1")).root.charset == "utf-8"


@given(st.binary(max_size=300))
def test_bytes_are_kept_exactly(data: bytes) -> None:
    assert parse(entity("application/octet-stream", data)).root.content == data
    assert parse(entity("text/csv; charset=utf-8", data)).root.content == data


def test_an_attached_message_is_not_encoded() -> None:
    root = parse(entity("message/rfc822", b"Subject: x\n\nbody\n")).root
    assert root.raw_body == b"Subject: x\n\nbody\n"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
def test_names_are_read_back(name: str) -> None:
    raw = text_entity("x", filename=name, disposition="attachment")
    root = parse(raw).root
    assert root.disposition == "attachment"
    names = [found for found in root.filenames if canonical(found) == canonical(name)]
    assert names or not name.strip() or not canonical(name)


@pytest.mark.parametrize("name", ['a "b".txt', "back\\slash.txt", "Übersicht.txt", "a;b=c.txt", "日本.txt"])
def test_names_are_understood_by_the_email_package(name: str) -> None:
    message = email.message_from_bytes(text_entity("x", filename=name), policy=email.policy.default)
    assert message.get_filename() == name


def test_nothing_breaks_out_of_a_header() -> None:
    raw = text_entity("x", filename='a"\r\nBcc: everybody\r\n\r\n.txt')
    assert [name for name, _ in parse(raw).root.headers.items()] == [
        b"Content-Type",
        b"Content-Disposition",
        b"Content-Transfer-Encoding",
    ]
    with pytest.raises(ValueError, match="no header value"):
        entity("text/plain\nBcc: everybody", "x")


def test_a_very_long_name_keeps_its_extension() -> None:
    root = parse(text_entity("x", filename="ä" * 500 + ".exe")).root
    assert root.extension == ".exe"
    assert len(root.filename.encode()) <= 240
