# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTA of the tests changes a message as Sendmail 8.17 and Postfix 3.7 were seen to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.trial.mta_message import (
    POSTFIX,
    SENDMAIL,
    AddHeader,
    AddRecipient,
    Change,
    ChangeHeader,
    ChangeSender,
    DeleteRecipient,
    Envelope,
    Habits,
    InsertHeader,
    Message,
    Quarantine,
    ReplaceBody,
    apply_changes,
)

D_FIELDS = b"A: 0\r\nX-D: 1\r\nX-D: 2\r\nX-D: 3\r\nx-d: 4\r\nZ: 9\r\n"


def changed(head: bytes, *changes: Change, habits: Habits = SENDMAIL) -> bytes:
    """The header of the message after the changes, without the empty line."""
    envelope = Envelope(sender=b"<a@example.com>", recipients=[b"<b@example.net>"])
    message = apply_changes(Message.parse(head + b"\r\nbody\r\n"), envelope, changes, habits)
    assert message.body == b"body\r\n"
    return message.as_bytes().removesuffix(b"\r\nbody\r\n")


def delete(index: int) -> ChangeHeader:
    return ChangeHeader(index=index, name=b"X-D", value=b"")


@given(st.lists(st.sampled_from([b"A: b", b"a:", b" c", b"\t", b"", b"no colon", b"\xff: \xe9", b"\r", b"\n"])))
def test_a_parsed_message_gives_back_its_bytes(lines: list[bytes]) -> None:
    data = b"\r\n".join(lines)
    assert Message.parse(data).as_bytes() == data


def test_a_value_loses_one_leading_space_and_keeps_its_folding() -> None:
    message = Message.parse(b"A:   x  \r\nB:y\r\nC : one\r\n\ttwo\r\n   \r\n z\r\n\r\n")
    assert [(header.key, header.value) for header in message.headers] == [
        (b"a", b"  x  "),
        (b"b", b"y"),
        (b"c", b"one\n\ttwo\n   \n z"),
    ]


def test_the_header_ends_at_a_line_that_is_no_field() -> None:
    message = Message.parse(b"A: 1\r\nno field\r\nB: 2\r\n\r\nbody\r\n")
    assert [header.key for header in message.headers] == [b"a"]
    assert message.body == b"no field\r\nB: 2\r\n\r\nbody\r\n"


@pytest.mark.parametrize(
    ("habits", "left"),
    [(SENDMAIL, b"A: 0\r\nX-D: 1\r\nZ: 9\r\n"), (POSTFIX, b"A: 0\r\nX-D: 1\r\nX-D: 3\r\nZ: 9\r\n")],
)
def test_deleting_with_rising_numbers_spares_fields_in_postfix(habits: Habits, left: bytes) -> None:
    assert changed(D_FIELDS, delete(2), delete(3), delete(4), habits=habits) == left


@pytest.mark.parametrize("habits", [SENDMAIL, POSTFIX])
def test_deleting_with_falling_numbers_is_the_same_in_both(habits: Habits) -> None:
    assert changed(D_FIELDS, delete(4), delete(3), delete(2), habits=habits) == b"A: 0\r\nX-D: 1\r\nZ: 9\r\n"


def test_sendmail_adds_before_a_namesake_and_postfix_at_the_end() -> None:
    new = AddHeader(name=b"X-D", value=b"new")
    assert changed(b"A: 0\r\nX-D: 1\r\nZ: 9\r\n", new) == b"A: 0\r\nX-D: new\r\nX-D: 1\r\nZ: 9\r\n"
    assert changed(b"X-D: 1\r\nZ: 9\r\n", new, habits=POSTFIX) == b"X-D: 1\r\nZ: 9\r\nX-D: new\r\n"


def test_changing_a_field_that_is_not_there_adds_it() -> None:
    new = ChangeHeader(index=9, name=b"X-New", value=b"n")
    assert changed(b"A: 0\r\n", new) == b"A: 0\r\nX-New: n\r\n"


def test_inserting_counts_the_mta_s_own_received_field() -> None:
    inserted = [InsertHeader(index=index, name=b"X-I", value=b"%d" % index) for index in (0, 1, 3, 99)]
    assert changed(b"A: 0\r\nB: 1\r\n", *inserted) == b"X-I: 0\r\nX-I: 1\r\nX-I: 3\r\nA: 0\r\nB: 1\r\nX-I: 99\r\n"


def test_a_line_end_in_a_new_value_becomes_a_folded_line() -> None:
    new = AddHeader(name=b"X", value=b"  two\nfold\n\tkept")
    assert changed(b"", new) == b"X:   two\r\n fold\r\n\tkept\r\n"


def test_the_envelope_is_changed() -> None:
    envelope = Envelope(sender=b"<a@example.com>", recipients=[b"<b@example.net>", b"<c@example.net>"])
    changes: list[Change] = [
        AddRecipient(address=b"<d@example.net>"),
        DeleteRecipient(address=b"<b@example.net>"),
        ChangeSender(address=b"<x@example.com>"),
        Quarantine(reason=b"odd"),
    ]
    apply_changes(Message.parse(b"A: 0\r\n\r\n"), envelope, changes, SENDMAIL)
    assert envelope == Envelope(
        sender=b"<x@example.com>", recipients=[b"<c@example.net>", b"<d@example.net>"], quarantine_reason=b"odd"
    )


def test_a_new_body_gets_whole_lines_and_keeps_a_lone_cr() -> None:
    envelope = Envelope(sender=b"<>", recipients=[])
    change = ReplaceBody(body=b"new\nbody\r\nx\ry\nend")
    message = apply_changes(Message.parse(b"A: 0\r\n\r\nold\r\n"), envelope, [change], SENDMAIL)
    assert message.as_bytes() == b"A: 0\r\n\r\nnew\r\nbody\r\nx\ry\r\nend\r\n"
