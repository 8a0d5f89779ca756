# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that are built for tests, read again by Python's own mail package."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

from defang_worker.testing import MessageBuilder


def read(builder: MessageBuilder) -> EmailMessage:
    return email.message_from_bytes(builder.bytes(), policy=email.policy.default)


def shape(message: EmailMessage) -> object:
    if message.is_multipart():
        return [message.get_content_type(), *(shape(part) for part in message.iter_parts())]  # type: ignore[arg-type]
    return message.get_content_type()


def test_message_without_any_word_is_a_small_text() -> None:
    message = read(MessageBuilder())
    assert message["From"] == "Sender <sender@example.com>"
    assert all(name in message for name in ("To", "Subject", "Date", "Message-ID", "MIME-Version"))
    assert message.get_content() == "Hello\n"
    assert not message.defects


def test_same_words_give_the_same_bytes() -> None:
    def built() -> bytes:
        return MessageBuilder().subject("é").text("a").html("b").attach("c", b"d").bytes()

    assert built() == built()


def test_fields_are_set_once_and_appended_as_often_as_asked() -> None:
    builder = MessageBuilder().from_("a@example.com").to("b@example.org", "c@example.org").subject("Grüße")
    message = read(builder.subject("Grüße!").header("X-A", "1").header("X-A", b"\xff raw").without("Date"))
    assert (message["From"], message["To"]) == ("a@example.com", "b@example.org, c@example.org")
    assert message["Subject"] == "Grüße!"
    assert len(message.get_all("X-A", [])) == 2
    assert b"X-A: \xff raw\n" in builder.bytes()
    assert message["Date"] is None


def test_texts_become_alternatives_and_attachments_a_mixed_message() -> None:
    builder = MessageBuilder().text("Größe").html("<p>Größe</p>")
    assert shape(read(builder)) == ["multipart/alternative", "text/plain", "text/html"]
    message = read(builder.attach("a.zip", b"PK\0", "application/zip").attach("b.txt", "text", "text/plain"))
    assert shape(message) == [
        "multipart/mixed",
        ["multipart/alternative", "text/plain", "text/html"],
        "application/zip",
        "text/plain",
    ]
    attached = list(message.iter_attachments())
    assert [part.get_filename() for part in attached] == ["a.zip", "b.txt"]
    assert attached[0].get_content() == b"PK\0"
    assert message.get_body(("plain",)).get_content() == "Größe\n"  # type: ignore[union-attr]


def test_messages_and_containers_nest() -> None:
    inner = MessageBuilder().subject("inner").attach("x.exe", b"MZ")
    message = read(
        MessageBuilder()
        .text("outer")
        .attach_message(inner.text("text"))
        .nested("related", MessageBuilder().html("<p>"), MessageBuilder().attach("i.png", b"\x89", "image/png"))
    )
    assert shape(message) == [
        "multipart/mixed",
        "text/plain",
        ["message/rfc822", ["multipart/mixed", "text/plain", "application/octet-stream"]],
        ["multipart/related", "text/html", "image/png"],
    ]
    assert not [part for part in message.walk() if part.defects]


def test_raw_parts_and_bodies_stand_as_they_were_given() -> None:
    assert b"\nX: y\n\n\xff\n--" in MessageBuilder().text("a").part(b"X: y\n\n\xff").bytes()
    raw = MessageBuilder().header("Content-Type", "text/x").body(b"\0\r").bytes()
    assert raw.endswith(b"Content-Type: text/x\n\n\0\r")
    assert b"MIME-Version" not in raw


def test_line_ends_are_those_asked_for() -> None:
    raw = MessageBuilder().text("a").html("b").bytes(newline=b"\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n") > 10
