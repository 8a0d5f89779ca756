# SPDX-License-Identifier: GPL-3.0-or-later
"""HEADERS and PRISTINE_HEADERS: spared where nobody needs them, there wherever somebody may."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import milter
import pytest

from defang_common.wire import abilities
from defang_common.wire.abilities import HEADER_FILES_WANTED, QUESTION_TO_MUX
from defang_common.wire.spool import KEEP_MARK
from defang_milter import mux_client
from tests.milter.conftest import FakeMux, Play, directory_of, scan_giving

MakePlay = Callable[..., Play]
UNKNOWN = b"error: Unknown command\n"
FILES = {"HEADERS", "PRISTINE_HEADERS"}


class Scans:
    """The scans of a multiplexor, and which of the header files each of them found."""

    def __init__(self, mux: FakeMux) -> None:
        self.found: list[set[str]] = []
        self.answers: Iterator[bytes] = iter(())
        mux.answers[b"scan"] = self._scan

    def _scan(self, request: bytes) -> bytes:
        names = {file.name for file in directory_of(request).iterdir()}
        self.found.append(names & FILES)
        return next(self.answers, None) or scan_giving(b"F\n")(request)


@pytest.fixture
def ours(mux: FakeMux) -> FakeMux:
    """A multiplexor of ours."""
    mux.answers[QUESTION_TO_MUX] = abilities.encode(abilities.ALL)
    return mux


def _settled(play: MakePlay, *options: str) -> Play:
    """A front end that has asked the multiplexor, with its first message."""
    session = play("-q", *options)
    assert session.to_end() == milter.CONTINUE
    return session


def test_they_are_spared_where_the_multiplexor_says_so(play: MakePlay, ours: FakeMux) -> None:
    session = _settled(play)
    scans = Scans(ours)
    assert session.to_end() == milter.CONTINUE
    assert scans.found == [set()]


def test_the_first_message_has_them_for_nobody_was_asked_yet(play: MakePlay, ours: FakeMux) -> None:
    scans = Scans(ours)
    _settled(play)
    assert scans.found == [FILES]


def test_a_multiplexor_that_does_not_know_them_always_finds_them(play: MakePlay, mux: FakeMux) -> None:
    session = _settled(play)
    scans = Scans(mux)
    assert [session.to_end(), session.to_end()] == [milter.CONTINUE] * 2
    assert scans.found == [FILES, FILES]


def test_one_that_knows_state_alone_always_finds_them(play: MakePlay, mux: FakeMux) -> None:
    mux.answers[QUESTION_TO_MUX] = b"abilities state\n"
    session = _settled(play)
    scans = Scans(mux)
    assert session.to_end() == milter.CONTINUE
    assert scans.found == [FILES]


def test_a_multiplexor_that_takes_anothers_place_finds_them(
    play: MakePlay, ours: FakeMux, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _settled(play)
    ours.answers[QUESTION_TO_MUX] = UNKNOWN
    monkeypatch.setattr(mux_client, "_peer_pid", lambda _link: os.getpid() + 1)
    scans = Scans(ours)
    assert session.to_end() == milter.CONTINUE
    assert scans.found == [FILES]
    assert ours.requests[-1] == b"scan Q1 %b\n" % os.fsencode(session.spool / "mdefang-Q1")


def test_one_that_cannot_be_told_from_another_finds_them(
    play: MakePlay, ours: FakeMux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux_client, "_peer_pid", lambda _link: 0)
    session = _settled(play)
    scans = Scans(ours)
    assert session.to_end() == milter.CONTINUE
    assert scans.found == [FILES]
    assert ours.requests[-1].endswith(b' """\n')


def test_they_are_written_when_a_worker_wants_them_and_from_then_on(play: MakePlay, ours: FakeMux) -> None:
    session = _settled(play)
    scans = Scans(ours)
    scans.answers = iter([HEADER_FILES_WANTED])
    assert [session.to_end(), session.to_end()] == [milter.CONTINUE] * 2
    assert scans.found == [set(), FILES, FILES]


def test_a_worker_that_is_never_content_is_a_temporary_failure(
    play: MakePlay, ours: FakeMux, caplog: pytest.LogCaptureFixture
) -> None:
    session = _settled(play)
    scans = Scans(ours)
    scans.answers = iter([HEADER_FILES_WANTED] * 9)
    assert session.to_end() == milter.TEMPFAIL
    assert scans.found == [set(), FILES]
    assert caplog.messages == ["Q1: eom: scan: wanted HEADERS PRISTINE_HEADERS"]


def test_they_are_written_once(play: MakePlay, mux: FakeMux) -> None:
    contents: list[bytes] = []

    def scan(request: bytes) -> bytes:
        contents.append((directory_of(request) / "HEADERS").read_bytes())
        return HEADER_FILES_WANTED if len(contents) == 1 else scan_giving(b"F\n")(request)

    mux.answers[QUESTION_TO_MUX] = abilities.encode(abilities.ALL)
    mux.answers[b"scan"] = scan
    _settled(play)
    assert contents == [b"Subject: test\n"] * 2


def test_they_are_always_written_if_so_set(play: MakePlay, ours: FakeMux) -> None:
    session = _settled(play, "--always-header-files")
    scans = Scans(ours)
    assert session.to_end() == milter.CONTINUE
    assert scans.found == [FILES]


def test_files_that_cannot_be_written_are_a_temporary_failure_with_their_name(
    play: MakePlay, caplog: pytest.LogCaptureFixture
) -> None:
    session = play("-q")
    session.to_mail()
    (session.directories()[0] / "HEADERS").mkdir()
    assert session.eom() == milter.TEMPFAIL
    assert caplog.messages == [f"Q1: eom: {session.spool}/mdefang-Q1/HEADERS: Is a directory"]
    assert session.directories() == []


@pytest.mark.parametrize(("options", "results"), [(("-d",), b"F\n"), (("-k",), b"half")])
def test_a_directory_that_is_kept_has_them(
    play: MakePlay, ours: FakeMux, options: tuple[str, ...], results: bytes
) -> None:
    session = _settled(play)
    session = play("-q", *options)
    session.callbacks._mux = _settled(play).callbacks._mux
    ours.answers[b"scan"] = scan_giving(results)
    session.to_end()
    (directory,) = session.directories()
    assert {file.name for file in directory.iterdir()} == FILES | {"COMMANDS", "INPUTMSG", "RESULTS"}
    assert (directory / "PRISTINE_HEADERS").read_bytes() == b"Subject: test\n"


def test_a_directory_that_is_kept_before_the_header_came_has_none(play: MakePlay, spool: Path) -> None:
    session = play("-q")
    session.to_mail()
    (spool / KEEP_MARK).touch()
    session.close()
    assert list(session.directories()[0].iterdir()) == []


def test_a_full_disk_does_not_hide_that_a_directory_is_kept(
    play: MakePlay, ours: FakeMux, caplog: pytest.LogCaptureFixture
) -> None:
    session = _settled(play)
    ours.answers[b"scan"] = scan_giving(b"F\n", HEADERS=b"")
    (session.spool / KEEP_MARK).touch()
    session.to_mail()
    session.eoh()
    directory = session.directories()[0]
    (directory / "HEADERS").mkdir()
    session.close()
    assert directory.is_dir()
    assert caplog.messages == [f"Q1: files of kept message not written: {directory}/HEADERS: Is a directory"]
