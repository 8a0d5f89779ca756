# SPDX-License-Identifier: GPL-3.0-or-later
"""When effects happen: on disk before RESULTS, mails after it, and nothing at all of a message that is deferred."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.api.copies import as_partition
from defang_worker.effects import seal
from defang_worker.effects.contract import EffectFailed, Letter, LetterKind, QuarantineEntry
from defang_worker.effects.recorded import RecordedEffects
from defang_worker.effects.site import SiteEffects
from tests.support.sink import Sink
from tests.worker.conftest import COMMANDS, MESSAGE, LoadFilter, make_worker

ALL = """
def filter_begin(message):
    message.quarantine("odd")
    message.notify_admin("text")
    message.resend(["<carol@example.net>"])
"""


class WatchedEffects(RecordedEffects):
    """Notes in which order things happen, and fails where it is told to."""

    def __init__(self, workdir: Path, failing: str = "") -> None:
        super().__init__()
        self.workdir = workdir
        self.failing = failing
        self.happened: list[str] = []

    def _note(self, what: str) -> None:
        results = self.workdir / "RESULTS"
        self.happened.append(what + (" after RESULTS" if results.exists() and results.read_bytes() else ""))
        if what == self.failing:
            raise EffectFailed(f"{what} failed")

    def quarantine(self, entry: QuarantineEntry) -> str:
        self._note("quarantine")
        return super().quarantine(entry)

    def forget(self, path: str) -> None:
        self._note("forget")
        super().forget(path)

    def submit(self, letter: Letter, until: float) -> None:
        self._note(letter.kind.value)
        super().submit(letter, until)

    def submit_copies(self, letters: tuple[Letter, ...], ledger: str, until: float) -> None:
        self._note("copy")
        super().submit_copies(letters, ledger, until)


def scan(load_filter: LoadFilter, workdir: Path, source: str, effects: RecordedEffects) -> bytes:
    site = replace(load_filter(source), effects=effects)
    return make_worker(site).answer(b"scan Q1 %s" % str(workdir).encode())


def test_quarantine_comes_before_results_and_mails_after(load_filter: LoadFilter, workdir: Path) -> None:
    effects = WatchedEffects(workdir)
    assert scan(load_filter, workdir, ALL, effects) == b"ok\n"
    assert effects.happened == ["quarantine", "admin-notice after RESULTS", "copy after RESULTS"]


@pytest.mark.parametrize(
    ("failing", "happened"),
    [
        ("quarantine", ["quarantine"]),
        ("admin-notice", ["quarantine", "admin-notice after RESULTS", "forget after RESULTS"]),
        (
            "copy",
            ["quarantine", "admin-notice after RESULTS", "copy after RESULTS", "forget after RESULTS"],
        ),
    ],
)
def test_what_fails_defers_the_message_and_takes_its_quarantine_back(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture, failing: str, happened: list[str]
) -> None:
    effects = WatchedEffects(workdir, failing)
    assert scan(load_filter, workdir, ALL, effects) == b"error: scan failed: %s failed\n" % failing.encode()
    assert effects.happened == happened
    assert effects.quarantined == []
    assert f"temporary failure: {failing} failed" in caplog.text


@pytest.mark.parametrize("fault", [AttributeError, KeyboardInterrupt])
@pytest.mark.parametrize("step", ["publish", "submit", "submit_copies", "secret"])
def test_any_other_fault_takes_the_quarantine_back_as_well(
    load_filter: LoadFilter, workdir: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise fault

    effects = RecordedEffects()
    monkeypatch.setattr(effects, step, fail)
    source = (
        f"{ALL}def filter_part(message, part):\n    part.replace_with_url({str(workdir)!r}, 'https://example.org')\n"
    )
    assert scan(load_filter, workdir, source, effects).startswith(b"error: %b" % fault.__name__.encode())
    assert effects.quarantined == []


@pytest.mark.parametrize(("filter_took_s", "left_s"), [(0.0, 100.0), (70.0, 30.0), (90.0, 20.0), (500.0, 20.0)])
def test_mails_have_what_the_filter_left_of_the_time_of_a_scan(filter_took_s: float, left_s: float) -> None:
    ends: list[float] = []

    class Timed(RecordedEffects):
        def submit(self, letter: Letter, until: float) -> None:
            ends.append(until)

        def submit_copies(self, letters: tuple[Letter, ...], ledger: str, until: float) -> None:
            ends.append(until)

    message = Message(commands.decode(COMMANDS), MESSAGE, "/nonexistent", Settings())
    now = message.envelope.began_at + filter_took_s
    message.notify_admin("text")
    message.resend(["<carol@example.net>"])
    with patch("defang_worker.api.outbox.time.monotonic", lambda: now):
        message.outbox.send(message, Timed())
    assert ends == pytest.approx([now + left_s] * 2)


def test_results_that_cannot_be_written_take_the_quarantine_back(load_filter: LoadFilter, workdir: Path) -> None:
    effects = WatchedEffects(workdir)
    source = ALL + "    for number in range(9000): message.add_recipient(f'<{number}@example.net>')\n"
    assert scan(load_filter, workdir, source, effects).startswith(b"error: scan failed: RESULTS would have")
    assert effects.happened == ["quarantine", "forget"]


def test_a_real_quarantine_that_is_missing_defers_the_message(load_filter: LoadFilter, workdir: Path) -> None:
    source = "def filter_part(message, part):\n    part.quarantine('odd')"
    real = SiteEffects(submit_to="/nonexistent", state_dir="/nonexistent")
    site = load_filter(source)
    site = replace(site, effects=real, settings=replace(site.settings, quarantine_dir="/nonexistent"))
    answer = make_worker(site).answer(b"scan Q1 %s" % str(workdir).encode())
    assert answer.startswith(b"error: scan failed: not quarantined: ")
    assert not (workdir / "RESULTS").exists()


UNCHECKED = f"""
from defang_worker.checks.faults import ServiceDown
from tests.worker.checks.fakes import FakeCheck

settings = Settings(quarantine_report=True)
{ALL}    message.run_checks(FakeCheck("bad", ServiceDown("refused")))
    message.send(__import__("email.message").message.EmailMessage(), ["<a@example.org>"])
"""


def test_nothing_is_done_of_a_message_that_only_a_failed_check_defers(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    effects = WatchedEffects(workdir)
    assert scan(load_filter, workdir, UNCHECKED, effects) == b"ok\n"
    assert (workdir / "RESULTS").read_bytes().startswith(b"T451")
    assert effects.happened == []
    assert "nothing quarantined or sent of what could not be checked" in caplog.text


def test_all_is_done_once_the_filter_decides_about_what_could_not_be_checked(
    load_filter: LoadFilter, workdir: Path
) -> None:
    effects = WatchedEffects(workdir)
    assert scan(load_filter, workdir, UNCHECKED + "    message.discard()\n", effects) == b"ok\n"
    assert [letter.kind.value for letter in effects.letters] == ["admin-notice", "quarantine-report", "mail", "copy"]
    assert len(effects.quarantined) == 1


def test_of_a_message_that_the_filter_defers_no_copy_is_made(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    effects = WatchedEffects(workdir)
    assert scan(load_filter, workdir, ALL + "    message.tempfail('later')\n", effects) == b"ok\n"
    assert effects.happened == ["quarantine", "admin-notice after RESULTS"]
    assert "no copies: the message is deferred" in caplog.text


# Copies that come back

SEEN = """
def filter_begin(message):
    message.headers.add("X-Resent", f"{message.resent.client_ip} {message.resent.queue_id}" if message.resent else "no")
    assert not (message.resent and message.stream_by_recipient())
    if "refuse" in message.subject:
        message.reject("no")
"""


def sealed(effects: RecordedEffects, raw: bytes, kind: LetterKind) -> bytes:
    made = seal.Seal(kind=kind, time_s=1_700_000_000, client_ip="192.0.2.9", queue_id="OLD")
    return seal.field(made, effects.secret(), seal.digest(raw)) + raw


@pytest.fixture
def effects(monkeypatch: pytest.MonkeyPatch) -> RecordedEffects:
    monkeypatch.setattr("defang_worker.api.copies.time.time", lambda: 1_700_000_100.0)
    return RecordedEffects()


def results(load_filter: LoadFilter, workdir: Path, effects: RecordedEffects, raw: bytes) -> list[str]:
    (workdir / "INPUTMSG").write_bytes(raw)
    assert scan(load_filter, workdir, SEEN, effects) == b"ok\n"
    return (workdir / "RESULTS").read_text().splitlines()


RAW = b"Subject: lunch\n\nHello\n"


def test_copy_is_filtered_and_loses_its_mark(load_filter: LoadFilter, workdir: Path, effects: RecordedEffects) -> None:
    lines = results(load_filter, workdir, effects, sealed(effects, RAW, LetterKind.COPY))
    assert lines == ["JX-Defang-Resent 1", "HX-Resent 192.0.2.9%20OLD", "F"]


def test_released_message_passes_and_loses_its_mark(
    load_filter: LoadFilter, workdir: Path, effects: RecordedEffects
) -> None:
    lines = results(load_filter, workdir, effects, sealed(effects, RAW, LetterKind.RELEASE))
    assert lines == ["JX-Defang-Resent 1", "F"]


@pytest.mark.parametrize("kind", [LetterKind.COPY, LetterKind.RELEASE])
def test_forged_mark_is_deleted_and_worth_nothing(
    load_filter: LoadFilter, workdir: Path, effects: RecordedEffects, kind: LetterKind
) -> None:
    lines = results(load_filter, workdir, effects, sealed(RecordedEffects(), RAW, kind))
    assert lines == ["JX-Defang-Resent 1", "HX-Resent no", "F"]


def test_mark_moved_to_another_message_is_worth_nothing(
    load_filter: LoadFilter, workdir: Path, effects: RecordedEffects, caplog: pytest.LogCaptureFixture
) -> None:
    moved = sealed(effects, RAW, LetterKind.RELEASE).replace(b"Hello", b"Virus")
    assert results(load_filter, workdir, effects, moved)[1] == "HX-Resent no"
    assert "not ours, or too old, or changed on its way" in caplog.text


def test_refused_copy_is_discarded_lest_its_sender_gets_a_bounce(
    load_filter: LoadFilter, workdir: Path, effects: RecordedEffects
) -> None:
    raw = sealed(effects, RAW.replace(b"lunch", b"refuse"), LetterKind.COPY)
    assert results(load_filter, workdir, effects, raw) == ["D", "F"]


def test_deferred_message_has_the_same_ledger_when_it_comes_again(load_filter: LoadFilter, workdir: Path) -> None:
    names: list[str] = []

    class Noting(RecordedEffects):
        def submit_copies(self, letters: tuple[Letter, ...], ledger: str, until: float) -> None:
            names.append(ledger)
            raise EffectFailed("later")

    for queue_id in (b"Q1", b"Q2"):
        commands = workdir / "COMMANDS"
        commands.write_bytes(re.sub(rb"\nQ\w+\n", b"\nQ%s\n" % queue_id, commands.read_bytes()))
        (workdir / "RESULTS").unlink(missing_ok=True)
        source = "def filter_begin(message):\n    message.resend(['<a@b>'])"
        assert scan(load_filter, workdir, source, Noting()).startswith(b"error:")
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("groups", "odd"),
    [([["<bob@example.org>"], ["x@y"]], "x@y"), ([["bob@example.org"], ["bob@example.org"]], "bob"), ([], "bob")],
)
def test_groups_have_to_hold_every_recipient_once(
    load_filter: LoadFilter, workdir: Path, groups: list[list[str]], odd: str
) -> None:
    source = f"def filter_begin(message):\n    message.stream({groups!r})"
    answer = scan(load_filter, workdir, source, RecordedEffects()).decode()
    assert "every recipient is to be in one group" in answer
    assert odd in answer


def test_empty_partition_of_nobody_is_one() -> None:
    assert as_partition([], []) == []


def test_large_message_is_quarantined_and_copied_byte_by_byte(
    load_filter: LoadFilter, workdir: Path, tmp_path: Path
) -> None:
    # Large enough to be mapped rather than read.
    raw = b"Subject: large\n\n" + b"".join(b"%07d\n" % number for number in range(50_000))
    (workdir / "INPUTMSG").write_bytes(raw)
    source = "def filter_begin(message):\n    message.quarantine('large')\n    message.resend(['<carol@example.net>'])"
    site = load_filter(source)
    with Sink() as sink:
        real = SiteEffects(submit_to=f"127.0.0.1:{sink.port}", state_dir=str(tmp_path))
        site = replace(site, effects=real, settings=replace(site.settings, quarantine_dir=str(tmp_path)))
        assert make_worker(site).answer(b"scan Q1 %s" % str(workdir).encode()) == b"ok\n"
    assert sink.deliveries[0].content.replace(b"\r\n", b"\n").endswith(b"\n" + raw)
    (kept,) = tmp_path.glob("*/qdir-*/ENTIRE_MESSAGE")
    assert kept.read_bytes() == raw
    assert list((tmp_path / ".streams").iterdir()) == []
