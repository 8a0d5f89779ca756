# SPDX-License-Identifier: GPL-3.0-or-later
"""Notices keep to RFC 3834, hold any text, and let no text out of its field."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.api import notices
from defang_worker.effects.contract import LetterKind
from tests.worker.conftest import COMMANDS

SETTINGS = Settings(admin="admin@example.org", daemon="filter@example.org", daemon_name='Fïlter "x"')


def make(header: str = "", sender: str = "<alice@example.com>") -> Message:
    raw = f"From: alice@example.com\n{header}\n\nHello\n".replace("\n\n\n", "\n\n").encode("utf-8", "surrogateescape")
    told = COMMANDS.replace(b"<alice@example.com>", sender.encode("utf-8", "surrogateescape"))
    return Message(commands.decode(told), raw, "/nonexistent", SETTINGS)


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied (vacation)",
        "Auto-Submitted: Auto-Generated",
        "Precedence: bulk",
        "Precedence: LIST",
        "Precedence: junk",
        "List-Id: <x.example.org>",
        "List-Unsubscribe: <mailto:x@example.org>",
        "X-Auto-Response-Suppress: OOF, AutoReply",
    ],
)
def test_automatic_and_list_mail_gets_no_answer(header: str) -> None:
    assert notices.why_not_answered(make(header))


@pytest.mark.parametrize(
    "sender",
    ["<>", "<MAILER-DAEMON@example.com>", "<owner-x@example.com>", "<x-request@example.com>", "<filter@example.org>",
     "<x-bounces+alice=example.com@example.com>", "<no-reply@example.com>", "<postmaster@example.com>"],
)  # fmt: skip
def test_senders_that_are_no_person_get_no_answer(sender: str) -> None:
    assert notices.why_not_answered(make(sender=sender))


@pytest.mark.parametrize("header", ["", "Auto-Submitted: no", "Precedence: first-class", "Auto-Submitted: No ; x=y"])
def test_other_mail_gets_one(header: str) -> None:
    assert notices.why_not_answered(make(header)) == ""


def only_letter(message: Message) -> email.message.EmailMessage:
    (letter,) = notices.letters(message)
    assert letter.sender == ""
    content = b"".join(map(bytes, letter.content))
    assert content.isascii()
    assert b"\r" not in content
    return email.message_from_bytes(content, policy=email.policy.default)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=300)


@given(text=TEXT, subject=TEXT)
def test_any_text_arrives_and_stays_in_its_place(text: str, subject: str) -> None:
    message = make()
    message.notify_sender(text, subject=subject, preamble=False)
    mail = only_letter(message)
    assert mail.get_content().strip("\n").splitlines() == text.strip("\n").splitlines()
    assert set(mail.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Precedence", "X-Auto-Response-Suppress",
        "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip


@given(sender=st.binary(min_size=1, max_size=60), header=st.binary(max_size=100))
def test_hostile_message_makes_a_proper_notice(sender: bytes, header: bytes) -> None:
    text = sender.translate(None, b"\n\0% <>").decode("utf-8", "surrogateescape")
    message = make("Subject: " + header.translate(None, b"\n\0").decode("utf-8", "surrogateescape"), sender=f"<{text}>")
    message.notify_admin("text")
    message.notify_recipients("text")
    for letter in notices.letters(message):
        mail = email.message_from_bytes(b"".join(map(bytes, letter.content)), policy=email.policy.default)
        assert mail["From"].addresses[0].addr_spec == "filter@example.org"
        assert mail.get_content().rstrip().endswith("text")


def test_all_texts_for_one_reader_are_one_mail_and_the_first_subject_counts() -> None:
    message = make("Message-ID: <1@x>\nReferences: <0@x>  junk\n <y@x>")
    message.notify_sender("one", subject="First")
    message.notify_sender("two", subject="Second", preamble=False)
    mail = only_letter(message)
    assert mail["Subject"] == "First"
    assert mail.get_content() == "one\n\ntwo\n"
    assert (mail["In-Reply-To"], mail["References"]) == ("<1@x>", "<0@x> <y@x> <1@x>")
    assert mail["Auto-Submitted"] == "auto-replied"


@pytest.mark.parametrize("sender", ["a..b c@example.com", "a@["])
def test_sender_that_no_header_can_hold_is_still_the_recipient(sender: str) -> None:
    message = make(sender=f"<{sender}>")
    message.notify_sender("text")
    (letter,) = notices.letters(message)
    assert letter.recipients == (sender,)


def test_mail_of_ones_own_gets_the_fields_that_it_lacks() -> None:
    mail = email.message.EmailMessage()
    mail["Subject"] = "x"
    mail["Auto-Submitted"] = "no"
    message = make()
    message.send(mail, ["<a@example.org>"], sender="<b@example.org>")
    (letter,) = message.outbox.letters
    assert (letter.kind, letter.sender, letter.recipients) == (LetterKind.MAIL, "b@example.org", ("a@example.org",))
    sent = email.message_from_bytes(b"".join(map(bytes, letter.content)))
    assert sent["Auto-Submitted"] == "no"
    assert sent["Date"]
    assert sent["Message-ID"]


def test_mail_of_ones_own_is_not_changed_by_sending_it() -> None:
    mail = email.message.EmailMessage()
    mail["Subject"] = "alert"
    before = mail.as_bytes()
    messages = [make(), make()]
    for message in messages:
        message.send(mail, ["<a@example.org>"])
    assert mail.as_bytes() == before
    ids = [email.message_from_bytes(b"".join(one.outbox.letters[0].content))["Message-ID"] for one in messages]
    assert ids[0] != ids[1]


def test_mail_to_nobody_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a recipient"):
        make().send(email.message.EmailMessage(), [])
    with pytest.raises(ValueError, match="needs a recipient"):
        make().resend([])
