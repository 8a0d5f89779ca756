# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter's state in the front end: who is sent it, what is kept, and when it is forgotten."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

import milter
import pytest

from defang_common.wire import abilities
from defang_common.wire.abilities import QUESTION_TO_MUX, Ability
from defang_common.wire.requests import Scan, SenderOk
from defang_common.wire.state import MAX_VALUE_BYTES, Carried, with_changes
from defang_milter import mux_client
from defang_milter.mux_client import MuxClient, MuxUnavailable
from tests.milter.conftest import FakeMux, Play, directory_of

OK = b"ok 1 ok 250 2.1.0 0\n"
SENDER = SenderOk(sender=b"<a@b>", ip=b"", name=b"", helo=b"", directory=b"/d", queue_id=b"Q1")
SCAN = Scan(queue_id=b"Q1", directory=b"/d")


@pytest.fixture
def carrier(mux: FakeMux) -> FakeMux:
    """A multiplexor that carries state."""
    mux.answers[QUESTION_TO_MUX] = abilities.encode([Ability.STATE])
    return mux


def client_of(mux: FakeMux) -> MuxClient:
    return MuxClient(str(mux.path), timeout_s=5, keep_alive_interval_s=5)


def nothing() -> None:
    return


def test_a_multiplexor_that_does_not_know_state_never_sees_it(mux: FakeMux) -> None:
    mux.answers[b"senderok"] = OK
    carried = Carried()
    carried.session = b"gaFhAQ=="
    client = client_of(mux)
    client.check(SENDER, carried)
    client.scan(SCAN, nothing, carried)
    assert mux.requests == [b"senderok <a@b> UNKNOWN UNKNOWN UNKNOWN /d Q1\n", b"scan Q1 /d\n"]
    assert mux.questions == 1


def test_a_multiplexor_is_asked_once_and_then_given_the_state(carrier: FakeMux) -> None:
    carrier.answers[b"senderok"] = with_changes(OK, b"\x81\xa1a\x01", None)
    carried = Carried()
    client = client_of(carrier)
    assert client.check(SENDER, carried).delay_s == 0
    client.scan(SCAN, nothing, carried)
    first, second = carrier.requests
    assert first.endswith(b' Q1 ""\n')
    assert second == b'scan Q1 /d "gaFhAQ=="\n'
    assert carrier.questions == 1


def test_what_needs_no_state_asks_nothing(carrier: FakeMux) -> None:
    client = client_of(carrier)
    assert client.free_workers() == 4
    client.scan(SCAN, nothing)
    assert carrier.requests == [b"free\n", b"scan Q1 /d\n"]
    assert carrier.questions == 0


def test_another_process_at_the_socket_is_asked_anew(carrier: FakeMux, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(carrier)
    client.scan(SCAN, nothing, Carried())
    monkeypatch.setattr(mux_client, "_peer_pid", lambda _link: os.getpid() + 1)
    carrier.answers[QUESTION_TO_MUX] = b"error: Unknown command\n"
    client.scan(SCAN, nothing, Carried())
    client.scan(SCAN, nothing, Carried())
    assert carrier.requests == [b'scan Q1 /d ""\n', b"scan Q1 /d\n", b"scan Q1 /d\n"]
    assert carrier.questions == 2


def test_one_that_cannot_be_told_from_another_is_asked_each_time(
    carrier: FakeMux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux_client, "_peer_pid", lambda _link: 0)
    client = client_of(carrier)
    client.scan(SCAN, nothing, Carried())
    carrier.answers[QUESTION_TO_MUX] = b"\n"
    client.scan(SCAN, nothing, Carried())
    assert carrier.requests == [b'scan Q1 /d ""\n', b"scan Q1 /d\n"]
    assert carrier.questions == 2


def test_a_system_that_does_not_tell_the_peer_has_it_asked_each_time(
    carrier: FakeMux, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux_client, "_PEER_CREDENTIALS", None)
    client = client_of(carrier)
    client.scan(SCAN, nothing, Carried())
    client.scan(SCAN, nothing, Carried())
    assert carrier.requests == [b'scan Q1 /d ""\n'] * 2
    assert carrier.questions == 2


def test_the_peer_is_the_process_that_listens(mux: FakeMux) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(mux.path))
        assert mux_client._peer_pid(link) == os.getpid()
        link.sendall(b"free\n")
        assert link.recv(10) == b"4\n"
    assert struct.calcsize("@iII") == 12


@pytest.mark.parametrize("reply", [b'ok "\n', b'ok 1 ok 250 2.1.0 0 "!"\n', b'ok "A"\n', b'ok 1 ok 250 2.1.0 0 "x""\n'])
def test_garbage_for_state_is_a_failure(carrier: FakeMux, reply: bytes) -> None:
    carrier.answers[b"senderok"] = carrier.answers[b"scan"] = reply
    carried = Carried()
    with pytest.raises(MuxUnavailable):
        client_of(carrier).check(SENDER, carried)
    with pytest.raises(MuxUnavailable):
        client_of(carrier).scan(SCAN, nothing, carried)
    assert (carried.session, carried.message) == (b"", b"")


def test_the_longest_state_goes_and_comes(carrier: FakeMux) -> None:
    longest = b"\xff" * MAX_VALUE_BYTES
    carrier.answers[b"scan"] = with_changes(b"ok\n", longest, longest)
    carried = Carried()
    client_of(carrier).scan(SCAN, nothing, carried)
    client_of(carrier).scan(SCAN, nothing, carried)
    assert carrier.requests[1] == b'scan Q1 /d "%b"%b\n' % (carried.session, carried.message)
    assert len(carried.message) == 4 * -(-MAX_VALUE_BYTES // 3)


def state_of(request: bytes) -> tuple[bytes, bytes]:
    _, session, message = request.rstrip(b"\n").split(b'"')
    return session, message


def test_session_and_message_are_forgotten_in_their_time(carrier: FakeMux, play: Callable[..., Play]) -> None:
    def scan(request: bytes) -> bytes:
        (directory_of(request) / "RESULTS").write_bytes(b"F\n")
        return b'ok "U0NBTg=="-\n'

    carrier.answers |= {
        b"relayok": b'ok 1 ok 250 2.1.0 0 "UkVMQVk="-\n',
        b"helook": OK,
        b"senderok": b'ok 1 ok 250 2.1.0 0 "-"TUFJTA==\n',
        b"recipok": b'ok 0 no 550 5.1.1 0 "-"UkNQVA==\n',
        b"scan": scan,
    }
    session = play("-r", "-H", "-s", "-t", "-q")
    session.to_mail()
    assert session.rcpt() == milter.REJECT
    carrier.answers[b"recipok"] = OK
    assert session.rcpt() == milter.CONTINUE
    session.eoh()
    assert session.eom() == milter.CONTINUE
    session.mail()
    assert session.callbacks.abort(session.context) == milter.CONTINUE
    session.mail()
    session.close()
    session.connect()
    relay, mail, rcpt, again, scan_state = b"UkVMQVk=", b"TUFJTA==", b"UkNQVA==", b"U0NBTg==", b""
    assert list(map(state_of, carrier.requests)) == [
        (b"", b""),  # connect
        (relay, b""),  # HELO
        (relay, b""),  # MAIL
        (relay, mail),  # RCPT
        (relay, rcpt),  # RCPT
        (relay, rcpt),  # end of message
        (again, scan_state),  # MAIL
        (again, b""),  # MAIL behind a RSET
        (b"", b""),  # another connection
    ]
