# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters run in tests: by file, class or object, and what comes of one that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from defang_worker import CommandFailed, Connection, Envelope, Filter, Lookup, Message, Part, Recipient
from defang_worker.checks import Outcome
from defang_worker.testing import Fate, FilterFailed, MessageBuilder, look_up, run_command, run_filter, run_tick
from tests.worker.checks.fakes import FakeCheck


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


class Serving(Filter):
    def __init__(self) -> None:
        self.calls: list[object] = []

    def on_start(self) -> None:
        self.calls.append("start")

    def filter_map(self, table: str, key: str) -> Lookup:
        found = {"bob": "local", "long": "x" * 5000}
        return Lookup.found(f"{table}: {found[key]}")

    def filter_tick(self, kind: int) -> None:
        self.calls.append(10 // kind)

    def filter_unknown_command(self, command: str, words: tuple[str, ...]) -> str | None:
        match command, words:
            case "greet", (name,):
                return f"Hello {name}"
            case "greet", _:
                raise CommandFailed("whom?")
            case "long", _:
                return "x" * 5000
            case _:
                return None

    def on_stop(self) -> None:
        self.calls.append("stop")


def test_key_is_looked_up() -> None:
    assert look_up(Serving, "aliases", "bob") == Lookup.found("aliases: local")


def test_tick_runs_in_a_filter_that_was_started() -> None:
    site = Serving()
    run_tick(site, 5)
    assert site.calls == ["start", 2, "stop"]


def test_command_shows_its_text_and_raises_what_it_is_refused_for() -> None:
    assert run_command(Serving, "GREET", "Bob") == "Hello Bob"
    assert run_command(Serving, "other") is None
    with pytest.raises(CommandFailed, match=r"^whom\?$"):
        run_command(Serving, "greet")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: look_up(Serving, "aliases", "eve"), r"filter_map: .*test_running\.py:\d+: KeyError: 'eve'"),
        (lambda: look_up(Serving, "aliases", "long"), "takes 5014 bytes"),
        (lambda: run_tick(Serving), r"filter_tick: .*test_running\.py:\d+: ZeroDivisionError"),
        (lambda: run_command(Serving, "long"), "takes 5003 bytes"),
        (lambda: look_up(Site, "aliases", "bob"), "no filter_map in it"),
        (lambda: run_tick(Site), "no filter_tick in it"),
        (lambda: run_command(Site, "greet"), "no filter_unknown_command in it"),
    ],
)
def test_what_fails_beside_the_mail_fails_the_test(call: Callable[[], object], text: str) -> None:
    with pytest.raises(FilterFailed, match=text):
        call()


class CannotTell(Filter):
    check = FakeCheck("odd", Outcome.UNKNOWN)

    def filter_relay(self, connection: Connection) -> None:
        if connection.ip == "192.0.2.9":
            connection.run_checks(self.check)

    def filter_recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        envelope.run_checks(self.check)


@pytest.mark.parametrize(("ip", "stage"), [("192.0.2.9", "relay"), ("192.0.2.1", "recipient")])
def test_check_that_cannot_tell_is_no_fault_of_the_filter(ip: str, stage: str) -> None:
    result = run_filter(MessageBuilder(), CannotTell(), relay_ip=ip)
    assert (result.verdict, result.fault, result.stage) == (Fate.TEMPFAIL, None, stage)
    assert result.reply == "Could not be checked now (odd), please try again later"
