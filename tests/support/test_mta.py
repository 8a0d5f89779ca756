# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTA of the tests keeps the milter protocol, and says clearly what a milter did wrong."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from defang_worker.trial.mta_message import AddHeader, ChangeHeader, InsertHeader, Quarantine, ReplaceBody
from tests.support.mta import (
    POSTFIX,
    Milter,
    MilterClosedError,
    MilterError,
    MilterGarbageError,
    MilterTimeoutError,
    Offer,
    Stage,
    Verdict,
)

MESSAGE = b"Subject:  two\r\nX-Folded: a\r\n\tb\r\n\r\nbody\r\n"
ALL_STEPS = 0x1FFFFF
NO_REPLIES_TO_CONTENT = 0x80 | 0x40000 | 0x80000
Packet = tuple[bytes, bytes]


def packet(letter: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data) + 1) + letter + data


class FakeMilter:
    """Answers each command by the packets of a table, `c` by default; `heard` is what it was told."""

    def __init__(self, path: Path, answers: dict[bytes, Sequence[bytes]], steps: int, lists: bytes) -> None:
        self.heard: list[Packet] = []
        self.address = f"unix:{path}"
        terms = struct.pack(">III", 6, 0x1FF, steps) + lists
        self._answers = {b"O": [packet(b"O", terms)], b"D": [], b"A": [], b"K": [], b"Q": [], **answers}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    @contextmanager
    def running(self) -> Iterator[FakeMilter]:
        self._thread.start()
        try:
            yield self
        finally:
            self._thread.join(10)
            self._listener.close()

    def letters(self) -> bytes:
        return b"".join(letter for letter, _ in self.heard)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                (length,) = struct.unpack(">I", head)
                command = stream.read(length)
                self.heard.append((command[:1], command[1:]))
                answer = b"".join(self._answers.get(command[:1], [packet(b"c")]))
                if answer == b"close":
                    return
                if answer:
                    connection.sendall(answer)


@pytest.fixture
def fake(spool: Path) -> Callable[..., FakeMilter]:
    def make(*, steps: int = 0, lists: bytes = b"", **answers: Sequence[bytes]) -> FakeMilter:
        by_letter = {letter.encode(): packets for letter, packets in answers.items()}
        return FakeMilter(spool / "milter.sock", by_letter, steps, lists)

    return make


def test_every_step_of_smtp_reaches_the_milter_in_order(fake: Callable[..., FakeMilter]) -> None:
    with fake().running() as milter, Milter(milter.address) as mta:
        outcome = mta.send(MESSAGE, recipients=[b"<b@example.net>", b"<c@example.net>"])
    assert milter.letters() == b"ODCHDMDRDRDTLLDNBDEQ"
    assert (b"L", b"Subject\0 two\0") in milter.heard
    assert (b"L", b"X-Folded\0a\n\tb\0") in milter.heard
    assert (b"B", b"body\r\n") in milter.heard
    assert outcome.verdict is Verdict.ACCEPT
    assert outcome.message
    assert outcome.message.as_bytes() == MESSAGE


def test_an_address_without_a_kind_is_a_path(fake: Callable[..., FakeMilter]) -> None:
    with fake().running() as milter, Milter(milter.address.removeprefix("unix:")) as mta:
        assert mta.connect().verdict is Verdict.CONTINUE


def test_postfix_tells_the_queue_id_late_and_aborts_at_the_end(fake: Callable[..., FakeMilter]) -> None:
    with fake().running() as milter, Milter(milter.address) as mta:
        mta.send(MESSAGE, recipients=[b"<b@x>", b"<c@x>"], queue_id=b"QID", habits=POSTFIX)
    told = [data[:1] for letter, data in milter.heard if letter == b"D" and b"i\0QID\0" in data]
    assert told == [b"R", b"T", b"N", b"E"]
    assert milter.letters().endswith(b"EAQ")


def test_steps_that_the_milter_does_not_want_are_not_sent(fake: Callable[..., FakeMilter]) -> None:
    with fake(steps=0x2 | 0x20 | 0x10 | 0x200).running() as milter, Milter(milter.address) as mta:
        mta.send(MESSAGE)
    assert milter.letters() == b"ODCDMDRDNDEQ"


def test_no_answer_is_awaited_where_the_milter_gives_none(fake: Callable[..., FakeMilter]) -> None:
    silent: list[bytes] = []
    milter = fake(steps=NO_REPLIES_TO_CONTENT, L=silent, N=silent, B=silent)
    with milter.running(), Milter(milter.address) as mta:
        assert mta.send(MESSAGE).delivered


def test_values_keep_their_leading_space_if_the_milter_wants_it(fake: Callable[..., FakeMilter]) -> None:
    with fake(steps=0x100000).running() as milter, Milter(milter.address) as mta:
        mta.send(MESSAGE)
    assert (b"L", b"Subject\0  two\0") in milter.heard


def test_only_the_macros_that_were_asked_for_are_sent(fake: Callable[..., FakeMilter]) -> None:
    lists = struct.pack(">I", 2) + b"i {mail_host}\0"
    with fake(lists=lists).running() as milter, Milter(milter.address) as mta:
        mta.send(MESSAGE, queue_id=b"QID")
    assert (b"D", b"Mi\0QID\0{mail_host}\0example.com\0") in milter.heard


def test_changes_come_in_order_and_are_applied(fake: Callable[..., FakeMilter]) -> None:
    changes = [
        packet(b"h", b"X-A\0v\0"),
        packet(b"p"),
        packet(b"i", b"\0\0\0\0X-I\0w\0"),
        packet(b"b", b"new "),
        packet(b"b", b"body\n"),
        packet(b"m", b"\0\0\0\1Subject\0\0"),
        packet(b"q", b"odd\0"),
        packet(b"c"),
    ]
    with fake(E=changes).running() as milter, Milter(milter.address) as mta:
        outcome = mta.send(MESSAGE)
    assert outcome.changes == (
        AddHeader(name=b"X-A", value=b"v"),
        InsertHeader(index=0, name=b"X-I", value=b"w"),
        ChangeHeader(index=1, name=b"Subject", value=b""),
        Quarantine(reason=b"odd"),
        ReplaceBody(body=b"new body\n"),
    )
    assert outcome.message
    assert outcome.message.as_bytes() == b"X-I: w\r\nX-Folded: a\r\n\tb\r\nX-A: v\r\n\r\nnew body\r\n"
    assert outcome.envelope.quarantine_reason == b"odd"
    assert outcome.progress_packets == 1


@pytest.mark.parametrize(
    ("letter", "data", "verdict", "code"),
    [
        (b"r", b"", Verdict.REJECT, 554),
        (b"t", b"", Verdict.TEMPFAIL, 451),
        (b"d", b"", Verdict.DISCARD, 250),
        (b"y", b"550 5.1.1 a%%b\0", Verdict.REJECT, 550),
        (b"y", b"450 4.1.1 a\0", Verdict.TEMPFAIL, 450),
    ],
)
def test_a_refusal_delivers_nothing(
    fake: Callable[..., FakeMilter], letter: bytes, data: bytes, verdict: Verdict, code: int
) -> None:
    with fake(E=[packet(letter, data)]).running() as milter, Milter(milter.address) as mta:
        outcome = mta.send(MESSAGE)
    assert (outcome.stage, outcome.verdict, outcome.code) == (Stage.EOM, verdict, code)
    assert not outcome.delivered


def test_a_reply_of_several_lines_is_taken_apart(fake: Callable[..., FakeMilter]) -> None:
    reply = b"550-5.7.2 multi\r\n550-5.7.2 \r\n550 5.7.2 two%%x\0"
    with fake(M=[packet(b"y", reply)]).running() as milter, Milter(milter.address) as mta:
        outcome = mta.send(MESSAGE)
    assert outcome.stage is Stage.MAIL
    assert outcome.reply
    assert (outcome.reply.code, outcome.reply.dsn, outcome.reply.text) == (550, b"5.7.2", b"multi\n\ntwo%x")


def test_refused_recipients_are_left_out_of_the_envelope(fake: Callable[..., FakeMilter]) -> None:
    with fake(R=[packet(b"r")]).running() as milter, Milter(milter.address) as mta:
        outcome = mta.send(MESSAGE, recipients=[b"<b@x>", b"<c@x>"])
    assert outcome.envelope.recipients == []
    assert list(outcome.refused) == [b"<b@x>", b"<c@x>"]
    assert (outcome.stage, outcome.code) == (Stage.RCPT, 550)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([b"close"], MilterClosedError),
        ([packet(b"Z")], MilterGarbageError),
        ([b"\0\0\0\0"], MilterGarbageError),
        ([b"HTTP/1.0 400 Bad\r\n"], MilterGarbageError),
        ([packet(b"y", b"hello\0")], MilterGarbageError),
        ([packet(b"s")], MilterGarbageError),
        ([packet(b"i", b"\0\0")], MilterGarbageError),
        ([], MilterTimeoutError),
    ],
)
def test_what_the_milter_does_wrong_is_an_error_that_names_the_stage(
    fake: Callable[..., FakeMilter], answer: list[bytes], error: type[MilterError]
) -> None:
    # The limit holds in the stages before, too.
    timeout_s = 2 if error is MilterTimeoutError else 60
    with fake(E=answer).running() as milter, Milter(milter.address, timeout_s=timeout_s) as mta:
        with pytest.raises(error, match="EOM"):
            mta.send(MESSAGE)
        mta.close()


def test_a_milter_that_takes_more_than_was_offered_is_refused(fake: Callable[..., FakeMilter]) -> None:
    with fake(steps=0x80).running() as milter, pytest.raises(MilterGarbageError, match="more than was offered"):
        Milter(milter.address, offer=Offer(steps=0))


def test_nobody_listening_is_an_error(spool: Path) -> None:
    with pytest.raises(MilterClosedError, match=r"milter\.sock"):
        Milter(f"unix:{spool}/milter.sock")
