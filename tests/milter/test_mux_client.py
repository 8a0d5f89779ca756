# SPDX-License-Identifier: GPL-3.0-or-later
"""One request to the multiplexor, and all the ways in which it can fail."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from defang_common.wire.answers import Verdict
from defang_common.wire.requests import Scan, SenderOk
from defang_milter.mux_client import MAX_ANSWER_BYTES, MuxClient, MuxUnavailable

if TYPE_CHECKING:
    from tests.milter.conftest import FakeMux

SCAN = Scan(queue_id=b"Q1", directory=b"/spool/mdefang-Q1")
SENDER = SenderOk(sender=b"<a@b>", ip=b"", name=b"", helo=b"", directory=b"/d", queue_id=b"Q1")


def _client(path: Path, timeout_s: float = 5, interval_s: float = 5) -> MuxClient:
    return MuxClient(str(path), timeout_s=timeout_s, keep_alive_interval_s=interval_s)


def _nothing() -> None:
    return


def test_free_workers_are_a_number(mux: FakeMux) -> None:
    mux.answers[b"free"] = b"12\n"
    assert _client(mux.path).free_workers() == 12
    assert mux.requests == [b"free\n"]


def test_a_check_gives_its_answer(mux: FakeMux) -> None:
    mux.answers[b"senderok"] = b"ok 0 no 550 5.1.1 3\n"
    answer = _client(mux.path).check(SENDER)
    assert (answer.verdict, answer.text, answer.delay_s) == (Verdict.REJECT, b"no", 3)


def test_a_scan_that_went_well_says_nothing(mux: FakeMux) -> None:
    _client(mux.path).scan(SCAN, _nothing)
    assert mux.requests == [b"scan Q1 /spool/mdefang-Q1\n"]


@pytest.mark.parametrize("reply", [b"ok", b"ok\n\n", b"ok 1\n", b"OK\n", b"error: No free workers\n", b""])
def test_a_scan_is_done_only_if_the_answer_is_exactly_ok(mux: FakeMux, reply: bytes) -> None:
    mux.answers[b"scan"] = reply
    with pytest.raises(MuxUnavailable, match="scan: "):
        _client(mux.path).scan(SCAN, _nothing)


@pytest.mark.parametrize(
    "reply", [b"", b"error: No free workers\n", b"ok 1", b"ok 0 no 55", b"ok 1\nok 0\n", b"ok 7 x\n"]
)
def test_an_answer_that_is_none_is_a_failure(mux: FakeMux, reply: bytes) -> None:
    mux.answers[b"senderok"] = reply
    with pytest.raises(MuxUnavailable):
        _client(mux.path).check(SENDER)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"ERR No response from worker\n", "no answer to a check: ERR No response from worker"),
        (b"ok 7 caf\xe9\tx\n", "no answer to a check: ok 7 caf\\xe9\\tx"),
        (b"", "no answer to a check: nothing"),
    ],
)
def test_a_failures_text_is_for_people(mux: FakeMux, reply: bytes, told: str) -> None:
    mux.answers[b"senderok"] = reply
    with pytest.raises(MuxUnavailable) as failed:
        _client(mux.path).check(SENDER)
    assert str(failed.value) == told


def test_no_number_is_a_failure(mux: FakeMux) -> None:
    mux.answers[b"free"] = b"error: what?\n"
    with pytest.raises(MuxUnavailable, match="error: what"):
        _client(mux.path).free_workers()


def test_an_answer_is_whole_only_when_the_connection_closes(mux: FakeMux) -> None:
    mux.hold_open.clear()
    done = threading.Event()

    def ask() -> None:
        _client(mux.path).scan(SCAN, _nothing)
        done.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert not done.wait(0.2)
    mux.hold_open.set()
    assert done.wait(5)
    thread.join(5)


def test_nobody_listening_is_a_failure_with_the_path(spool: Path) -> None:
    with pytest.raises(MuxUnavailable, match=r"nothing\.sock: No such file"):
        _client(spool / "nothing.sock").free_workers()


def test_an_endless_answer_is_cut_off(mux: FakeMux) -> None:
    mux.answers[b"free"] = b"4" * (MAX_ANSWER_BYTES + 1)
    with pytest.raises(MuxUnavailable, match="over"):
        _client(mux.path).free_workers()


def test_a_silent_multiplexor_is_given_up(mux: FakeMux) -> None:
    mux.hold_open.clear()
    mux.answers[b"free"] = b""
    with pytest.raises(MuxUnavailable, match=r"within 0\.1 s"):
        _client(mux.path, timeout_s=0.1).free_workers()
    mux.hold_open.set()


def test_a_multiplexor_that_dribbles_is_given_up(spool: Path) -> None:
    path = spool / "dribble.sock"
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def dribble() -> None:
            link, _ = listener.accept()
            with link, suppress(BrokenPipeError):
                while not over.wait(0.01):
                    link.sendall(b"4")

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            with pytest.raises(MuxUnavailable, match=r"no answer within 0\.2 s"):
                _client(path, timeout_s=0.2).free_workers()
        finally:
            over.set()
            thread.join(5)


def test_a_full_backlog_is_waited_for_and_then_given_up(spool: Path) -> None:
    path = spool / "full.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            with pytest.raises(MuxUnavailable, match="takes no request"):
                _client(path, timeout_s=0.1).free_workers()


def test_signs_of_life_come_while_an_answer_is_awaited(mux: FakeMux) -> None:
    signs: list[int] = []

    def sign() -> None:
        signs.append(1)
        if len(signs) == 3:
            mux.hold_open.set()

    mux.hold_open.clear()
    _client(mux.path, interval_s=0.02).scan(SCAN, sign)
    assert len(signs) >= 3


def test_no_descriptor_is_left_behind(mux: FakeMux, spool: Path) -> None:
    client = _client(mux.path)
    client.free_workers()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        client.free_workers()
        with pytest.raises(MuxUnavailable):
            _client(spool / "nothing.sock").free_workers()
    # One more may be the fake's end of a connection that it has not closed yet.
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
