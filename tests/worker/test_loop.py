# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop keeps step: one answer line for each line that comes in, whatever that is."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import requests
from defang_worker.api import filter_file
from defang_worker.loop import Worker, serve
from tests.worker.conftest import LoadFilter, make_worker

NONE = make_worker(filter_file.load("/dev/null"))


def talk(worker: Worker, *pieces: bytes) -> bytes:
    """All that the worker writes when these pieces are all it gets; they arrive as so many reads, if it keeps up."""
    (fd_in, theirs), (ours, fd_out) = os.pipe(), os.pipe()

    def feed() -> None:
        for piece in pieces:
            os.write(theirs, piece)
        os.close(theirs)

    heard: list[bytes] = []

    def listen() -> None:
        while data := os.read(ours, 65536):
            heard.append(data)

    threads = [threading.Thread(target=feed), threading.Thread(target=listen)]
    for thread in threads:
        thread.start()
    try:
        serve(worker, fd_in, fd_out)
    finally:
        os.close(fd_out)
        for thread in threads:
            thread.join()
        os.close(fd_in)
        os.close(ours)
    return b"".join(heard)


def talk_alone(worker: Worker, request: bytes) -> bytes:
    """The same for one request, with no thread beside this one, for a fork would copy half of it."""
    (fd_in, theirs), (ours, fd_out) = os.pipe(), os.pipe()
    os.write(theirs, request)
    os.close(theirs)
    try:
        serve(worker, fd_in, fd_out)
        return os.read(ours, 4096)
    finally:
        for descriptor in (fd_in, ours, fd_out):
            os.close(descriptor)


# Words of requests, so that chance gets beyond the first one; and any bytes but those that end a line.
_WORDS = [row.word for row in requests.TABLE] + [b"", b" ", b"/nowhere", b"Q1", b"<a@b>", b"%", b"%00", b"\0", b"\r"]
_LINES = st.one_of(
    st.binary(max_size=200).map(lambda line: line.replace(b"\n", b"")),
    st.lists(st.sampled_from(_WORDS), max_size=14).map(b" ".join),
)


@given(st.lists(_LINES, max_size=8))
def test_any_lines_are_answered_by_as_many_lines(lines: list[bytes]) -> None:
    answers = talk(NONE, b"".join(line + b"\n" for line in lines))
    assert answers.count(b"\n") == len(lines)
    assert not answers or answers.endswith(b"\n")


@given(_LINES)
def test_the_same_line_has_the_same_answer_in_whatever_pieces_it_comes(line: bytes) -> None:
    whole = talk(NONE, line + b"\n")
    assert talk(NONE, *(bytes((byte,)) for byte in line), b"\n") == whole


def test_answers_come_in_the_order_of_the_requests() -> None:
    assert talk(NONE, b"ping\nnonsense\nrelayok 192.0.2.1 h 1 192.0.2.2 25 NOQUEUE\nping\n").split(b"\n") == [
        b"PONG",
        b"error: Unknown command",
        b"ok 1 ok 250 2.1.0 0",
        b"PONG",
        b"",
    ]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"", b"error: Unknown command\n"),
        (b"PING", b"PONG\n"),
        (b"ping\r", b"PONG\n"),
        (b"free", b"error: Unknown command\n"),
        (b"tick 1", b"error: tick 1: this filter has no ticks\n"),
        (b"map aliases bob", b"PERM no%20such%20map\n"),
        (b"scan Q1", b"error: scan: 2 words expected, 1 found\n"),
        (b"senderok a b", b"error: senderok: 6 words expected, 2 found\n"),
        (b"helook 192.0.2.1 h  1 192.0.2.2 25 NOQUEUE", b"ok 1 ok 250 2.1.0 0\n"),
    ],
)
def test_line_has_the_answer(line: bytes, answer: bytes) -> None:
    assert talk(NONE, line + b"\n") == answer


def test_line_over_the_limit_is_answered_by_one_error() -> None:
    pieces = [b"x" * 50_000] * 5
    assert talk(NONE, b"ping\n", *pieces, b"\nping\n") == b"PONG\nerror: Request too long\nPONG\n"


def test_what_ends_without_a_newline_is_no_request() -> None:
    assert talk(NONE, b"ping\npi") == b"PONG\n"


def test_fault_of_our_own_is_one_error_line_and_a_log_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, workdir: Path
) -> None:
    def break_down(*_args: object, **_options: object) -> bytes:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("defang_worker.scan.scan", break_down)
    assert talk(NONE, b"scan Q1 %s\nping\n" % os.fsencode(workdir)) == b"error: RuntimeError: two lines\nPONG\n"
    assert "request failed" in caplog.text
    assert "RuntimeError: two" in caplog.text


def test_worker_lives_on_after_a_filter_failed(load_filter: LoadFilter, workdir: Path) -> None:
    site = load_filter(
        """
        def filter_begin(message):
            raise SystemExit(3)
        """
    )
    request = b"scan Q1 %s\n" % os.fsencode(workdir)
    answers = talk(make_worker(site), request + b"ping\n").splitlines()
    assert answers[0].startswith(b"error: scan failed: filter_begin: ")
    assert answers[1:] == [b"PONG"]
    assert not (workdir / "RESULTS").exists()


@pytest.mark.parametrize("text", ["raise self", "return 3", "raise SystemExit(0)"])
@pytest.mark.parametrize("callback", ["filter_end(message)", "filter_recipient(envelope, recipient)"])
def test_worker_lives_on_after_an_exception_that_cannot_be_told(
    load_filter: LoadFilter, workdir: Path, text: str, callback: str
) -> None:
    site = load_filter(
        f"""
        class Odd(BaseException):
            def __str__(self):
                {text}
        def {callback}:
            raise Odd
        """
    )
    directory = os.fsencode(workdir)
    lines = [b"scan Q1 %b" % directory, b"recipok <r@x> <s@x> 192.0.2.7 h <r@x> helo %b Q1 ? ? ?" % directory, b"ping"]
    scanned, checked, ponged = talk(make_worker(site), b"\n".join(lines) + b"\n").splitlines()
    assert ponged == b"PONG"
    failed = scanned if "end" in callback else checked
    assert failed.startswith((b"error: scan failed: ", b"ok -1 "))


def test_child_that_a_filter_forgot_stores_nothing(load_filter: LoadFilter, workdir: Path, tmp_path: Path) -> None:
    site = load_filter(
        f"""
        import os
        settings = Settings(quarantine_dir={str(tmp_path)!r})
        def filter_end(message):
            message.quarantine("suspicious")
            child = os.fork()
            if child:
                os.waitpid(child, 0)
        """
    )
    site = replace(site, effects=filter_file.real_effects(site.settings))
    assert talk_alone(make_worker(site), b"scan Q1 %s\n" % os.fsencode(workdir)) == b"ok\n"
    assert len(list(tmp_path.rglob("qdir*"))) == 1


def test_child_that_a_filter_forgot_does_not_answer(load_filter: LoadFilter) -> None:
    site = load_filter(
        """
        import os
        def filter_relay(connection):
            child = os.fork()
            if child:
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                return Response.reject(f"child ended with {status}")
        """
    )
    request = b"relayok 192.0.2.7 h 1 192.0.2.1 25 NOQUEUE\n"
    assert talk_alone(make_worker(site), request) == b"ok 0 child%20ended%20with%2070 554 5.7.1 0\n"


def test_child_that_a_filter_forgot_writes_no_results(load_filter: LoadFilter, workdir: Path) -> None:
    site = load_filter(
        """
        import os
        def filter_begin(message):
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                message.reject("not wanted")
        def filter_part(message, part):
            part.drop(warning="the child's")
        """
    )
    assert talk_alone(make_worker(site), b"scan Q1 %s\n" % os.fsencode(workdir)) == b"ok\n"
    assert (workdir / "RESULTS").read_bytes() == b"B554 5.7.1 not%20wanted\nF\n"


def test_directory_that_a_filter_entered_is_left_with_its_request(load_filter: LoadFilter, tmp_path: Path) -> None:
    site = load_filter(
        f"""
        import os
        def filter_relay(connection):
            before = os.getcwd()
            os.chdir({str(tmp_path)!r})
            return Response.reject(before)
        """
    )
    here = Path.cwd()
    request = b"relayok 192.0.2.7 h 1 192.0.2.1 25 NOQUEUE\n"
    assert talk(make_worker(site), request * 2) == b"ok 0 %b 554 5.7.1 0\n" % os.fsencode(here) * 2
    assert Path.cwd() == here


def test_umask_that_a_filter_set_ends_with_its_request(load_filter: LoadFilter) -> None:
    site = load_filter(
        """
        import os
        def filter_relay(connection):
            return Response.reject(f"{os.umask(0o777):o}")
        """
    )
    before = os.umask(0o027)
    try:
        answered = talk(make_worker(site), b"relayok 192.0.2.7 h 1 192.0.2.1 25 NOQUEUE\n" * 2)
    finally:
        os.umask(before)
    assert answered == b"ok 0 27 554 5.7.1 0\n" * 2
