# SPDX-License-Identifier: GPL-3.0-or-later
"""clamd by a service that plays it, well or badly: what it means for this message, and that the next is unaffected."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import Clamd, Outcome, VirusResult
from defang_worker.checks.budget import Deadline
from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.stream import Stream
from defang_worker.checks.viruses import clamd_wire
from defang_worker.checks.viruses.clamd_wire import Client, Reply
from tests.support.fake_scanners import NESTED, PLAIN, VIRUS, FakeClamd
from tests.support.scripted_service import Handler, ScriptedService


def message(raw: bytes = PLAIN) -> Message:
    return Message(commands.decode(b"S<a@b>\nF\n"), raw, "/nowhere", Settings())


def scan(check: Clamd, raw: bytes = PLAIN) -> VirusResult:
    return message(raw).run_checks(check)[check]


@contextmanager
def clamd(
    handler: Handler, spool: Path, *, tcp: bool = False, timeout_s: float = 10.0
) -> Iterator[tuple[ScriptedService, Clamd]]:
    with ScriptedService(handler, None if tcp else spool / "clamd.sock") as service:
        yield service, Clamd(service.address, timeout_s=timeout_s)


@pytest.mark.parametrize("tcp", [False, True])
def test_message_and_each_decoded_part_are_scanned(spool: Path, tcp: bool) -> None:
    fake = FakeClamd()
    with clamd(fake, spool, tcp=tcp) as (service, check):
        result = scan(check, NESTED)
    assert fake.items == [NESTED, b"text", VIRUS]
    assert (result.outcome, result.names, result.parts) == (Outcome.FOUND, ("Test.Virus",), ("2",))
    assert result.detail == "Test.Virus"
    assert result.as_record().items() >= {"names": ("Test.Virus",), "parts": ("2",)}.items()
    assert service.connections == 1


@pytest.mark.parametrize("tcp", [False, True])
def test_clean_message_has_nothing(spool: Path, tcp: bool) -> None:
    with clamd(FakeClamd(), spool, tcp=tcp) as (_, check):
        result = scan(check)
    assert (result.outcome, result.detail, result.infections) == (Outcome.NOT_FOUND, "", ())


def test_parts_can_be_left_to_clamd(spool: Path) -> None:
    fake = FakeClamd()
    with ScriptedService(fake, spool / "clamd.sock") as service:
        scan(Clamd(service.address, parts=False), NESTED)
    assert fake.items == [NESTED]


def test_part_that_another_reading_has_is_scanned(spool: Path) -> None:
    fake = FakeClamd()
    epilogue = NESTED + b"begin 644 x\n0" + b'82!V97)Y(&)A9"!T:&EN9P  \n`\nend\n'
    with clamd(fake, spool) as (_, check):
        scan(check, epilogue)
    assert len(fake.items) > 3


def test_many_parts_are_scanned_in_one_session(spool: Path) -> None:
    raw = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"".join(b"--b\n\npart %d\n" % n for n in range(100))
    fake = FakeClamd()
    with clamd(fake, spool) as (service, check):
        assert scan(check, raw + b"--b--\n").outcome is Outcome.NOT_FOUND
    assert len(fake.items) == 101
    assert service.connections == 1


def test_clamd_that_gets_no_files_gets_the_bytes(spool: Path) -> None:
    fake = FakeClamd(takes_files=False)
    with clamd(fake, spool) as (service, check):
        assert scan(check, NESTED).is_found
        assert service.connections == 2
        assert scan(check, NESTED).is_found
        assert service.connections == 3  # it is not offered files again


@pytest.mark.parametrize("tcp", [False, True])
def test_too_large_message_cannot_be_told(spool: Path, tcp: bool) -> None:
    fake = FakeClamd()
    with ScriptedService(fake, None if tcp else spool / "clamd.sock") as service:
        check = Clamd(service.address, max_bytes=len(PLAIN))
        assert scan(check).outcome is Outcome.NOT_FOUND
        result = scan(check, PLAIN + b"!")
    assert result.outcome is Outcome.UNKNOWN
    assert result.detail == f"the message is too large to be scanned: {len(PLAIN) + 1} bytes, limit {len(PLAIN)}"


def test_virus_in_a_part_of_too_large_a_message_is_found(spool: Path) -> None:
    with ScriptedService(FakeClamd(), spool / "clamd.sock") as service:
        assert scan(Clamd(service.address, max_bytes=len(NESTED) - 1), NESTED).parts == ("2",)


def test_what_is_beyond_clamds_own_limit_cannot_be_told_and_the_rest_is_scanned(spool: Path) -> None:
    fake = FakeClamd(max_stream_bytes=len(NESTED) - 1)
    with clamd(fake, spool, tcp=True) as (_, check):
        assert scan(check, NESTED).parts == ("2",)
        clean = scan(check, PLAIN * 10)
        assert (clean.outcome, clean.detail) == (Outcome.UNKNOWN, "INSTREAM size limit exceeded.")
        assert not check.circuits[0].is_open


def test_virus_stays_found_if_clamd_goes_away_later(spool: Path) -> None:
    def answer(connected: socket.socket) -> None:
        seen = b""
        while seen.count(b"FILDES\n ") < 3:
            seen += connected.recv(65536)
        connected.sendall(b"3: fd[12]: Test.Virus FOUND\n")

    with clamd(answer, spool) as (_, check):
        result = scan(check, NESTED)
    assert (result.outcome, result.names, result.parts) == (Outcome.FOUND, ("Test.Virus",), ("2",))
    assert "closed the connection" in result.unchecked


def test_virus_beside_what_is_too_large_is_found_and_the_rest_is_told(spool: Path) -> None:
    with ScriptedService(FakeClamd(), spool / "clamd.sock") as service:
        result = scan(Clamd(service.address, max_bytes=len(NESTED) - 1), NESTED)
    assert result.is_found
    assert "too large" in result.unchecked


@pytest.mark.parametrize(
    "said",
    [b"Can't allocate memory ERROR", b"Heuristics.Limits.Exceeded.MaxScanSize FOUND", b"Not a regular file ERROR"],
)
def test_clamds_own_error_cannot_be_told_and_is_no_fault_of_the_service(spool: Path, said: bytes) -> None:
    fake = FakeClamd()
    fake.replies[b"Hello"] = said
    with clamd(fake, spool) as (_, check):
        for _ in range(4):
            assert scan(check).is_unknown
        assert scan(check, NESTED).is_found


def test_next_address_is_asked_if_one_is_refused(spool: Path) -> None:
    with ScriptedService(FakeClamd(), spool / "clamd.sock") as service:
        check = Clamd([str(spool / "nobody"), service.address])
        assert scan(check, NESTED).is_found


def test_answer_to_a_question_that_was_not_asked_is_a_fault(spool: Path) -> None:
    def answer(connected: socket.socket) -> None:
        seen = b""
        while b"FILDES\n " not in seen:
            seen += connected.recv(65536)
        connected.sendall(b"7: stream: OK\n")
        service.ending.wait()

    with clamd(answer, spool) as (service, check):
        assert "not asked" in scan(check).detail


def test_version_is_told(spool: Path) -> None:
    with clamd(FakeClamd(), spool) as (service, check):
        (feature,) = check.features(Deadline.after(10))
        assert (feature.kind, feature.name, feature.address) == ("Clamd", "clamd", service.address)
        assert (feature.is_reachable, feature.version) == (True, "ClamAV 1.4.6/27800/Mon Nov 23 2026")
        service.handler = ScriptedService.talk_garbage
        (feature,) = check.features(Deadline.after(10))
        assert (feature.is_reachable, feature.version) == (False, "")


@pytest.mark.parametrize("address", ["clamd", "localhost:", "localhost:0", ":3310", "::1", []])
def test_address_that_is_none_is_refused(address: str | list[str]) -> None:
    with pytest.raises(ValueError, match="address"):
        Clamd(address)


def understood(raw: bytes) -> Reply:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(raw)
        theirs.shutdown(socket.SHUT_WR)
        deadline = Deadline.after(10)
        client = Client("/nowhere", deadline)
        client.clamd_socket = clamd_wire._Socket(Stream(ours, deadline))
        return client.reply()


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (b"1: OK", Reply(number=1)),
        (b"2: fd[13]: OK", Reply(number=2)),
        (b"1: stream: Eicar-Test-Signature FOUND", Reply(number=1, virus="Eicar-Test-Signature")),
        (b"1: stream: Eicar(44d88612fea8a8f36de82e1278abb02f:68) FOUND", Reply(number=1, virus="Eicar")),
        (b"1: fd[1]: Not a regular file ERROR", Reply(number=1, error="Not a regular file")),
        (b"1: fd[1]: lstat() failed: No such file ERROR", Reply(number=1, error="lstat() failed: No such file")),
        (b"9: INSTREAM size limit exceeded. ERROR", Reply(number=9, error="INSTREAM size limit exceeded.")),
        (b"1: stream: A: B OK FOUND", Reply(number=1, virus="A: B OK")),
    ],
)
def test_reply_is_understood(raw: bytes, reply: Reply) -> None:
    assert understood(raw + b"\n") == reply


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"\n", b"1: OK", b"stream: OK\n", b"1: else: OK\n", b"1: else OK\n", b"OK\n", b"1: ok\n", b"-1: OK\n"),
        *(b"1: FOUND\n", b"1: stream: ERROR\n", b"\xff: OK\n", b"1: stream: \xff FOUND\n", b"1" * 10 + b": OK\n"),
        b"1: " + b"x" * 100_000,
    ],
)
def test_garbage_is_a_fault(raw: bytes) -> None:
    with pytest.raises(ServiceFault):
        understood(raw)


@given(st.binary(max_size=60) | st.from_regex(rb"1: (stream: )?.{0,20}( FOUND| ERROR|OK)?", fullmatch=True))
def test_any_bytes_are_a_reply_or_a_fault(raw: bytes) -> None:
    try:
        reply = understood(raw + b"\n")
    except ServiceFault:
        return
    assert not (reply.virus and reply.error)
    line = raw.partition(b"\n")[0].decode().strip()
    assert bool(re.search(r"(^|[ \]:])OK$", line)) or reply.virus or reply.error
