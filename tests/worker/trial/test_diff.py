# SPDX-License-Identifier: GPL-3.0-or-later
"""What was changed in a message, as a person wants to see it."""

from __future__ import annotations

from defang_worker.testing import MessageBuilder
from defang_worker.trial.diff import changed_lines


def changes(before: MessageBuilder, after: MessageBuilder) -> list[str]:
    return [line for line in changed_lines(before.bytes(), after.bytes()) if line[:1] in "+-"]


def test_same_message_has_no_changes() -> None:
    assert changed_lines(MessageBuilder().bytes(), MessageBuilder().bytes(newline=b"\r\n")) == []


def test_header_fields_are_compared_line_by_line() -> None:
    assert changes(MessageBuilder().subject("a"), MessageBuilder().subject("b").header("X", "1\n 2")) == [
        "-Subject: a",
        "+Subject: b",
        "+X: 1",
        "+ 2",
    ]


def test_texts_are_compared_decoded_and_others_by_checksum() -> None:
    before = MessageBuilder().text("Gr\u00fc\u00dfe\nund mehr").attach("a.bin", b"\0").attach("b.bin", b"1")
    after = MessageBuilder().text("Gru\u00df\nund mehr").attach("a.bin", b"\0").attach("b.bin", b"22")
    removed_text, added_text, removed_file, added_file = changes(before, after)
    assert (removed_text, added_text) == ("-Gr\u00fc\u00dfe", "+Gru\u00df")
    assert removed_file.startswith('-[application/octet-stream "b.bin", 1 bytes, SHA-256 6b86b273ff34')
    assert added_file.startswith('+[application/octet-stream "b.bin", 2 bytes, SHA-256 ')


def test_part_that_is_put_before_others_is_the_only_change() -> None:
    after = MessageBuilder().nested("mixed", MessageBuilder().text("new"), MessageBuilder().text("old"))
    before = MessageBuilder().nested("mixed", MessageBuilder().text("old"))
    lines = changed_lines(before.bytes(), after.bytes(), with_header=False)
    assert sorted(line for line in lines if line[:1] in "+-") == ["+[text/plain]", "+new"]
