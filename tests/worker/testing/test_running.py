# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters run in tests: by file, class or object, and what comes of one that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from defang_worker import Filter, Message, Part
from defang_worker.testing import Fate, FilterFailed, MessageBuilder, run_filter


class Site(Filter):
    def __init__(self, word: str = "lottery") -> None:
        self.word = word
        self.calls: list[str] = []

    def on_start(self) -> None:
        self.calls.append("start")

    def filter_begin(self, message: Message) -> None:
        self.calls.append("begin")
        if self.word in message.subject:
            message.reject("We do not play")

    def filter_part(self, message: Message, part: Part) -> None:
        if part.matches("iso$"):
            part.drop(warning="A disk image was removed.")

    def on_stop(self) -> None:
        self.calls.append("stop")


def test_class_is_run() -> None:
    assert run_filter(MessageBuilder().subject("lottery"), Site).verdict is Fate.REJECT
    result = run_filter(MessageBuilder().text("a").attach("x.iso", b"1"), Site)
    assert (result.verdict, result.warnings) == (Fate.ACCEPT, ("A disk image was removed.",))
    assert [part.filename for part in result.parts] == ["warning.txt", ""]


def test_object_is_run_with_what_the_test_gave_it() -> None:
    site = Site(word="lunch")
    assert run_filter(MessageBuilder().subject("lunch"), site).verdict == "reject"
    assert site.calls == ["start", "begin", "stop"]


def test_file_is_run(tmp_path: Path) -> None:
    (tmp_path / "site.py").write_text(
        "def filter_sender(e):\n    return __import__('defang_worker').Response.reject(e.sender)\n"
    )
    result = run_filter(b"\nraw", tmp_path / "site.py", sender="x@example.com")
    assert (result.stage, result.reply) == ("sender", "<x@example.com>")


class Failing(Filter):
    def filter_begin(self, message: Message) -> None:
        raise LookupError(message.subject)


def test_filter_that_raises_fails_the_test_with_its_traceback() -> None:
    with pytest.raises(FilterFailed, match=r"filter_begin: .*test_running\.py:\d+: LookupError: A message") as caught:
        run_filter(MessageBuilder(), Failing)
    assert "Traceback" in str(caught.value)
    assert caught.value.result is not None
    assert caught.value.result.verdict is Fate.TEMPFAIL


def test_fault_may_be_looked_at() -> None:
    result = run_filter(MessageBuilder(), Failing, may_fail=True)
    assert result.verdict is Fate.TEMPFAIL
    assert result.fault is not None


class Misspelt(Filter):
    def filter_prat(self) -> None:
        """A callback with a wrong name."""


class NotStarting(Filter):
    def on_start(self) -> None:
        raise OSError("no database")


@pytest.mark.parametrize(("given", "text"), [(Misspelt, "filter_part perhaps"), (NotStarting, "no database")])
def test_filter_that_cannot_be_used_fails_the_test(given: type[Filter], text: str) -> None:
    with pytest.raises(FilterFailed, match=text):
        run_filter(MessageBuilder(), given)


class TooLate(Filter):
    def filter_wrapup(self, message: Message) -> None:
        message.warn("too late")


def test_call_without_effect_fails_the_test_unless_it_is_run_as_in_service() -> None:
    with pytest.raises(FilterFailed, match=r"Message\.warn has no effect in filter_wrapup"):
        run_filter(MessageBuilder(), TooLate)
    result = run_filter(MessageBuilder(), TooLate, strict=False)
    assert result.verdict is Fate.ACCEPT
    assert any("Message.warn" in line for line in result.log)
