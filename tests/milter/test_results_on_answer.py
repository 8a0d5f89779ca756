# SPDX-License-Identifier: GPL-3.0-or-later
"""RESULTS on the answer to a scan: asked for where it may be had, and applied like the file."""

from __future__ import annotations

from collections.abc import Callable

import milter
import pytest

from defang_common.wire import abilities
from defang_common.wire.abilities import QUESTION_TO_MUX, Ability
from defang_common.wire.answers import encode_results
from tests.milter.conftest import FakeMux, Play, directory_of, scan_giving

MakePlay = Callable[..., Play]
WISH = b' """\n'
CHANGE = b"HX-Filtered yes\nF\n"


@pytest.fixture
def ours(mux: FakeMux, play: MakePlay) -> FakeMux:
    """A multiplexor of ours, whose scans give a change on the answer."""
    mux.answers[QUESTION_TO_MUX] = abilities.encode(abilities.ALL)
    mux.answers[b"scan"] = encode_results(CHANGE)
    return mux


def added(session: Play) -> list[object]:
    return [call[1] for call in session.context.calls if call[0] == "addheader"]


def test_what_is_on_the_answer_is_applied_and_nothing_stays(ours: FakeMux, play: MakePlay) -> None:
    session = play("-q", "-X")
    assert session.to_end() == milter.CONTINUE
    assert added(session) == ["X-Filtered"]
    assert session.directories() == []
    assert ours.requests[-1].endswith(WISH)


def test_what_is_in_the_file_is_applied_though_an_answer_was_wanted(ours: FakeMux, play: MakePlay) -> None:
    session = play("-q", "-X")
    session.to_end()
    ours.answers[b"scan"] = scan_giving(b"HX-File yes\nF\n")
    assert session.to_end() == milter.CONTINUE
    assert added(session) == ["X-Filtered", "X-File"]


def test_state_and_results_come_on_one_answer(ours: FakeMux, play: MakePlay) -> None:
    ours.answers[b"scan"] = encode_results(CHANGE).removesuffix(b"\n") + b' "U0NBTg=="-\n'
    session = play("-q", "-X")
    assert session.to_end() == milter.CONTINUE
    assert session.mail() == milter.CONTINUE
    session.eom()
    assert added(session) == ["X-Filtered"] * 2
    assert ours.requests[-1].endswith(b' "U0NBTg==""\n')


def test_only_scans_have_the_wish(ours: FakeMux, play: MakePlay) -> None:
    ours.answers[b"relayok"] = ours.answers[b"senderok"] = b"ok 1 ok 250 2.1.0 0\n"
    play("-q", "-r", "-s").to_end()
    assert [request.endswith(WISH) for request in ours.requests] == [False, False, True]


@pytest.mark.parametrize("told", [abilities.NONE, abilities.ALL - {Ability.RESULTS_ON_ANSWER}])
def test_a_multiplexor_that_does_not_know_the_wish_never_sees_it(
    ours: FakeMux, play: MakePlay, told: abilities.Abilities
) -> None:
    ours.answers[QUESTION_TO_MUX] = abilities.encode(told)
    ours.answers[b"scan"] = scan_giving(CHANGE)
    session = play("-q", "-X")
    assert session.to_end() == milter.CONTINUE
    assert added(session) == ["X-Filtered"]
    assert not ours.requests[-1].endswith(WISH)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"ok 'SFgg", "scan: ok 'SFgg"),
        (b"ok 'SFg\n", "scan: RESULTS on the answer: Incorrect padding"),
        (b"ok 'SF*g\n", "scan: RESULTS on the answer: Only base64 data is allowed"),
        (b"ok '\n", "RESULTS has no closing F"),
        (encode_results(b"HX-Filtered yes\n"), "RESULTS has no closing F"),
        (encode_results(b"HX-Filtered yes\nF\n") * 2, "scan: RESULTS on the answer: "),
    ],
)
def test_an_answer_that_is_damaged_is_a_temporary_failure(
    ours: FakeMux, play: MakePlay, caplog: pytest.LogCaptureFixture, answer: bytes, told: str
) -> None:
    ours.answers[b"scan"] = answer
    session = play("-q", "-X")
    assert session.to_end() == milter.TEMPFAIL
    assert told in caplog.text
    assert added(session) == []


@pytest.mark.parametrize(
    ("options", "results"), [(("-d",), CHANGE), (("-k",), b"half"), (("-k",), b"Hnot\xc3a_name x\nF\n")]
)
def test_a_directory_that_is_kept_has_the_file(
    ours: FakeMux, play: MakePlay, options: tuple[str, ...], results: bytes
) -> None:
    ours.answers[b"scan"] = encode_results(results)
    session = play("-q", *options)
    session.to_end()
    (directory,) = session.directories()
    assert (directory / "RESULTS").read_bytes() == results


def test_half_a_line_of_a_check_does_not_swallow_the_verdict(
    ours: FakeMux, play: MakePlay, caplog: pytest.LogCaptureFixture
) -> None:
    def check(_request: bytes) -> bytes:
        (session.directories()[0] / "RESULTS").write_bytes(b"HX-Check half")
        return b"ok 1 ok 250 2.1.0 0\n"

    ours.answers[b"recipok"] = check
    ours.answers[b"scan"] = encode_results(b"B554 5.7.1 virus\nF\n")
    session = play("-q", "-X", "-t")
    assert session.to_end() == milter.TEMPFAIL
    assert "RESULTS ends within a line" in caplog.text


def test_a_file_that_was_asked_for_on_an_answer_before_is_no_other_messages(ours: FakeMux, play: MakePlay) -> None:
    session = play("-q", "-X")
    session.to_end()
    ours.answers[b"scan"] = b"ok\n"
    assert session.to_end() == milter.TEMPFAIL
    assert added(session) == ["X-Filtered"]


@pytest.mark.parametrize("option", ["-s", "-t"])
@pytest.mark.parametrize(("begun", "applied"), [(None, ["X-Filtered"]), (b"HX-Check yes\n", ["X-Check", "X-Filtered"])])
def test_what_a_check_has_begun_comes_first(
    ours: FakeMux, play: MakePlay, option: str, begun: bytes | None, applied: list[str]
) -> None:
    def check(request: bytes) -> bytes:
        if begun is not None:
            (session.directories()[0] / "RESULTS").write_bytes(begun)
        return b"ok 1 ok 250 2.1.0 0\n"

    ours.answers |= {b"senderok": check, b"recipok": check}
    session = play("-q", "-X", option)
    assert session.to_end() == milter.CONTINUE
    assert added(session) == applied
    assert session.directories() == []


def test_more_than_a_file_may_have_is_too_much_on_file_and_answer_together(ours: FakeMux, play: MakePlay) -> None:
    def check(_request: bytes) -> bytes:
        (session.directories()[0] / "RESULTS").write_bytes(b"HX-A x\n" * 9362)
        return b"ok 1 ok 250 2.1.0 0\n"

    ours.answers[b"senderok"] = check
    session = play("-q", "-X", "-s")
    assert session.to_end() == milter.TEMPFAIL
    assert added(session) == []


def test_a_directory_that_is_kept_has_what_a_check_and_the_scan_gave_in_one_file(ours: FakeMux, play: MakePlay) -> None:
    def check(_request: bytes) -> bytes:
        (session.directories()[0] / "RESULTS").write_bytes(b"HX-Check yes\n")
        return b"ok 1 ok 250 2.1.0 0\n"

    ours.answers[b"senderok"] = check
    session = play("-q", "-d", "-s")
    session.to_end()
    assert (session.directories()[0] / "RESULTS").read_bytes() == b"HX-Check yes\n" + CHANGE


def test_the_answer_counts_and_not_what_lies_in_the_directory(ours: FakeMux, play: MakePlay) -> None:
    def scan(request: bytes) -> bytes:
        (directory_of(request) / "RESULTS").write_bytes(b"HX-Left behind\nF\n")
        return encode_results(CHANGE)

    ours.answers[b"scan"] = scan
    session = play("-q", "-X")
    assert session.to_end() == milter.CONTINUE
    assert added(session) == ["X-Filtered"]
    assert session.directories() == []
