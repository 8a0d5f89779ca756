# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls ahead remember, for how long, and what happens if they cannot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from defang_worker.checks import CallMemory, Outcome
from defang_worker.checks.budget import Deadline
from defang_worker.checks.callahead import memory as memories
from tests.support.fake_smtp import FakeSmtp
from tests.support.scripted_service import ScriptedService
from tests.worker.checks.callahead.calls import asked, call_ahead
from tests.worker.checks.envelopes import envelope

HOUR_S = 3600


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(spool: Path, clock: Clock) -> Iterator[CallMemory]:
    made = CallMemory(str(spool / "calls.sqlite"), clock=clock)
    yield made
    made.close()


def entries(spool: Path) -> int:
    with sqlite3.connect(spool / "calls.sqlite") as connection:
        return int(connection.execute("SELECT count(*) FROM calls").fetchone()[0])


def remember(memory: CallMemory, key: str, outcome: Outcome = Outcome.FOUND) -> None:
    memory.remember(key, {"outcome": outcome, "detail": "x"}, Deadline.after(30))


@pytest.mark.parametrize(
    ("reply", "outcome", "life_s"),
    [("250 ok", Outcome.FOUND, 6 * HOUR_S), ("550 5.1.1 no", Outcome.NOT_FOUND, HOUR_S // 2)],
)
def test_answer_is_remembered_for_its_time(
    memory: CallMemory, clock: Clock, reply: str, outcome: Outcome, life_s: int
) -> None:
    with ScriptedService(FakeSmtp(replies={"RCPT": reply})) as service:
        check = call_ahead(service.address, memory=memory)
        first = asked(check)
        clock.now += life_s - 1
        again = asked(check)
        assert service.connections == 1
        clock.now += 1
        assert not asked(check).is_remembered
        assert service.connections == 2
    assert (first.outcome, first.is_remembered, again.is_remembered) == (outcome, False, True)
    for member in ("outcome", "code", "dsn", "text", "command", "server", "detail"):
        assert getattr(first, member) == getattr(again, member)


@pytest.mark.parametrize("replies", [{"RCPT": "450 later"}, {"MAIL": "550 no"}, {"RCPT": ""}])
def test_what_could_not_be_told_is_not_remembered(memory: CallMemory, replies: dict[str, str]) -> None:
    with ScriptedService(FakeSmtp(replies=replies)) as service:
        check = call_ahead(service.address, memory=memory)
        assert asked(check).is_unknown
        assert asked(check).is_unknown
        assert service.connections == 2


def test_answer_is_one_for_server_sender_and_recipient(memory: CallMemory) -> None:
    with ScriptedService(FakeSmtp()) as service, ScriptedService(FakeSmtp()) as other:
        check = call_ahead(service.address, memory=memory)
        for subject, connections in [
            (envelope(), 1),
            (envelope("<bob@EXAMPLE.org>"), 1),
            (envelope("<Bob@example.org>"), 2),  # whether its case matters only its own server knows
            (envelope(sender="<carol@example.com>"), 3),
            (envelope(sender="<>"), 4),
        ]:
            assert asked(check, subject).is_found
            assert service.connections == connections
        fixed = call_ahead(service.address, memory=memory, sender="")
        assert asked(fixed, envelope(sender="<dave@example.com>")).is_remembered
        assert not asked(call_ahead(other.address, memory=memory)).is_remembered


def test_address_that_is_no_utf_8_is_asked_about_and_remembered(memory: CallMemory) -> None:
    with ScriptedService(FakeSmtp()) as service:
        check = call_ahead(service.address, memory=memory)
        for sender, recipient in [("<\udcff@example.com>", "<bob@example.org>"), ("<>", "<\udcfe@example.org>")]:
            first, again = (asked(check, envelope(recipient, sender=sender)) for _ in range(2))
            assert (first.is_found, first.is_remembered, again.is_remembered) == (True, False, True)
        assert not asked(check, envelope("<\udcfd@example.org>", sender="<>")).is_remembered
        assert service.connections == 3


def test_workers_share_what_they_know(spool: Path) -> None:
    path = str(spool / "calls.sqlite")
    with ScriptedService(FakeSmtp()) as service:
        assert not asked(call_ahead(service.address, memory=path)).is_remembered
        assert asked(call_ahead(service.address, memory=path)).is_remembered
        assert service.connections == 1
    assert (spool / "calls.sqlite").stat().st_mode & 0o777 == 0o600


def test_call_is_made_if_the_memory_fails(spool: Path, memory: CallMemory) -> None:
    with ScriptedService(FakeSmtp()) as service:
        nowhere = asked(call_ahead(service.address, memory=str(spool / "missing" / "calls.sqlite")))
        (spool / "calls.sqlite").write_bytes(b"no database, but long enough for one to be told from it" * 100)
        broken = asked(call_ahead(service.address, memory=memory))
        assert service.connections == 2
    assert nowhere.is_found
    assert broken.is_found
    assert "(no memory: " in nowhere.detail
    assert broken.detail.endswith("(no memory: file is not a database)")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"outcome": "odd"}', '{"outcome": "found", "more": 1}'])
def test_entry_that_is_none_of_ours_is_not_used(spool: Path, memory: CallMemory, text: str) -> None:
    remember(memory, "key")
    with sqlite3.connect(spool / "calls.sqlite") as connection:
        connection.execute("UPDATE calls SET answer = ?", (text,))
    assert memory.recall("key", Deadline.after(30)) is None


def test_memory_is_bounded(spool: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "_WRITES_PER_CLEARING", 4)
    memory = CallMemory(str(spool / "calls.sqlite"), max_entries=10, clock=clock)
    for number in range(40):
        clock.now += 1
        remember(memory, f"key {number}")
        assert entries(spool) <= 10 + 4
    assert memory.recall("key 39", Deadline.after(30)) is not None
    assert memory.recall("key 0", Deadline.after(30)) is None
    clock.now += 24 * HOUR_S
    for number in range(4):
        remember(memory, f"new {number}")
    assert entries(spool) == 4
    memory.close()


def test_too_long_an_address_is_not_remembered(spool: Path, memory: CallMemory) -> None:
    remember(memory, "x" * 5000)
    remember(memory, "x")
    assert entries(spool) == 1


@pytest.mark.parametrize("options", [{"accepted_life_s": -1}, {"refused_life_s": -1}, {"max_entries": 0}])
def test_limits_that_make_no_sense_are_refused(spool: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="an answer is kept"):
        CallMemory(str(spool / "calls.sqlite"), **options)


def test_answers_need_not_be_kept(spool: Path) -> None:
    memory = CallMemory(str(spool / "calls.sqlite"), refused_life_s=0)
    remember(memory, "refused", Outcome.NOT_FOUND)
    remember(memory, "there", Outcome.FOUND)
    assert entries(spool) == 1
    memory.close()
