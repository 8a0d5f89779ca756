# SPDX-License-Identifier: GPL-3.0-or-later
"""`message.as_delivered()` in filter_wrapup is what the mail server delivers, whatever was changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from defang_worker import Filter, Message, Part
from defang_worker.testing import MessageBuilder, run_filter

CORPUS = sorted((Path(__file__).parent / "mime" / "corpus").glob("*.eml"))


class Editing(Filter):
    seen = b""
    at_end = b""

    def filter_part(self, message: Message, part: Part) -> None:
        if part.matches(r"\.(exe|iso)$"):
            part.drop(warning="gone")
        elif part.matches(r"\.doc$"):
            part.replace("another text")

    def filter_end(self, message: Message) -> None:
        message.headers.add("X-Added", "yes")
        message.headers.insert("X-First", "top")
        message.headers.replace("Subject", "another")
        message.headers.delete_all("Date")
        self.at_end = message.as_delivered()

    def filter_wrapup(self, message: Message) -> None:
        message.headers.add("X-Last", "yes")
        self.seen = message.as_delivered()


class Untouching(Filter):
    seen = b""

    def filter_wrapup(self, message: Message) -> None:
        self.seen = message.as_delivered()


def parts_of(message: bytes) -> tuple[list[bytes], bytes]:
    """The lines of the header in any order, for mail servers differ in where they add a field, and the body.

    Blanks before a colon do not come to the filter; and where no header was found there need be no empty line.
    """
    header, _, body = message.replace(b"\r\n", b"\n").lstrip(b"\n").partition(b"\n\n")
    lines = header.replace(b"\n ", b"").replace(b"\n\t", b"").split(b"\n")
    return sorted(re.sub(rb"^([!-9;-~]+) +:", rb"\1:", line) for line in lines), body


@pytest.mark.parametrize("site", [Editing, Untouching], ids=["changed", "as it came"])
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_corpus_is_seen_as_it_is_delivered(path: Path, site: type[Editing | Untouching]) -> None:
    filter_ = site()
    result = run_filter(path.read_bytes(), filter_)
    if result.delivered is not None:
        assert parts_of(filter_.seen) == parts_of(result.delivered)


@pytest.mark.parametrize(
    "message",
    [
        MessageBuilder(),
        MessageBuilder().attach("a.exe", b"x"),
        MessageBuilder().text("Hello").attach("a.exe", b"x").attach("b.doc", b"y"),
        MessageBuilder()
        .header("Content-Description", "one")
        .header("Content-Description", "two")
        .attach("a.iso", b"x"),
        MessageBuilder().without("Subject").body(b""),
        MessageBuilder().body(b"no MIME-Version\n"),
    ],
    ids=["plain", "only part dropped", "two changed", "repeated field", "empty", "without MIME"],
)
def test_built_message_is_seen_as_it_is_delivered(message: MessageBuilder) -> None:
    filter_ = Editing()
    result = run_filter(message, filter_)
    assert result.delivered is not None
    assert parts_of(filter_.seen) == parts_of(result.delivered)
    # Before the body is final, but for a new boundary: what was asked for by then.
    assert b"X-Added: yes\n" in filter_.at_end
    assert b"X-Last" not in filter_.at_end
    assert b"a.exe" not in filter_.at_end
