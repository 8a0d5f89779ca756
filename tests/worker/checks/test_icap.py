# SPDX-License-Identifier: GPL-3.0-or-later
"""ICAP against a server of the tests' own (RFC 3507): what is sent, and what each kind of answer means."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import Icap, Outcome, VirusResult
from defang_worker.checks.budget import Deadline
from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.viruses import icap_wire
from tests.support.fake_scanners import NESTED, NO_CHANGE, OPTIONS, PLAIN, VIRUS, FakeIcap, blocked
from tests.support.scripted_service import Handler, ScriptedService


@contextmanager
def engine(handler: Handler, **options: object) -> Iterator[tuple[ScriptedService, Icap]]:
    with ScriptedService(handler) as service:
        yield service, Icap(f"icap://{service.address}/avscan", **options)  # type: ignore[arg-type]


def message(raw: bytes = PLAIN) -> Message:
    return Message(commands.decode(b"S<a@b>\nF\n"), raw, "/nowhere", Settings())


def scan(check: Icap, raw: bytes = PLAIN) -> VirusResult:
    return message(raw).run_checks(check)[check]


@pytest.mark.parametrize("preview", [None, 0, 4, 4096])
@pytest.mark.parametrize("method", ["RESPMOD", "REQMOD"])
def test_message_and_parts_are_shown_whole_on_one_connection(preview: int | None, method: str) -> None:
    server = FakeIcap(preview=preview)
    with engine(server, method=method) as (service, check):
        result = scan(check, NESTED)
        assert service.connections == 1
    assert server.items == [NESTED, b"text", VIRUS]
    assert (result.outcome, result.names, result.parts) == (Outcome.FOUND, ("Test.Virus",), ("2",))
    assert [head.split()[0].decode() for head in server.heads] == ["OPTIONS", method, method, method]
    assert all(b"Allow: 204\r\n" in head for head in server.heads[1:])


def test_options_are_asked_once() -> None:
    server = FakeIcap()
    with engine(server) as (_, check):
        for _ in range(3):
            assert scan(check).outcome is Outcome.NOT_FOUND
    assert [head.split()[0] for head in server.heads] == [b"OPTIONS", *[b"RESPMOD"] * 6]


def test_content_that_comes_back_unchanged_is_clean() -> None:
    server = FakeIcap()
    http = b"HTTP/1.1 200 OK\r\n\r\n"
    server.clean = lambda item: (
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=%d\r\n\r\n%b%x\r\n%b\r\n0\r\n\r\n"
        % (len(http), http, len(item), item)
    )
    with engine(server) as (_, check):
        assert scan(check).outcome is Outcome.NOT_FOUND


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (b"", "unknown"),
        (b"X-Infection-Found: Type=0; Resolution=0; Threat=Eicar test;\r\n", "Eicar test"),
        (b"X-Infection-Found: yes\r\n", "unknown"),
        (b"X-Virus-ID: EICAR_Test\r\n", "EICAR_Test"),
        (b"X-Violations-Found: 1\r\n\tmessage.eml\r\n\tEICAR String\r\n\t11101\r\n\t2\r\n", "EICAR String"),
    ],
)
def test_name_is_taken_from_whichever_field_has_it(fields: bytes, name: str) -> None:
    with engine(FakeIcap(infected=blocked(fields))) as (_, check):
        assert scan(check, NESTED).names == (name,)


def test_answer_before_the_end_is_taken_and_the_rest_goes_on_another_connection() -> None:
    server = FakeIcap(preview=None)
    whole = server.__call__

    def early(connected: socket.socket) -> None:
        data = b""
        while b"RESPMOD" not in data or len(data) < 100_000:
            data += connected.recv(65536)
            if b"OPTIONS" in data:
                data = b""
                connected.sendall(OPTIONS % b"")
        service.handler = whole
        connected.sendall(blocked(b"X-Virus-ID: Early\r\n"))
        while connected.recv(65536):
            pass

    big = PLAIN + b"x" * 3_000_000
    with engine(early) as (service, check):
        result = scan(check, big)
        assert service.connections == 2
    assert result.names == ("Early",)
    assert server.items == [b"Hello\n" + b"x" * 3_000_000]


def test_virus_is_found_though_the_engine_refuses_another_part() -> None:
    server = FakeIcap()
    server.clean = lambda item: b"ICAP/1.0 418 Bad composition\r\n\r\n" if item == b"text" else NO_CHANGE
    with engine(server) as (service, check):
        result = scan(check, NESTED)
        assert service.connections == 2  # what is left of one on which it refused, nobody knows
    assert (result.outcome, result.parts, result.unchecked) == (Outcome.FOUND, ("2",), "the engine refuses: 418")
    assert server.items == [NESTED, b"text", VIRUS]


def test_virus_stays_found_if_the_service_fails_later() -> None:
    server = FakeIcap()
    threat = b"X-Virus-ID: First\r\n"
    server.clean = lambda item: blocked(threat) if item == NESTED else b"ICAP/1.0 500 No\r\n\r\n"
    with engine(server, on_failure="mark") as (_, check):
        result = scan(check, NESTED)
    assert (result.outcome, result.names, result.parts) == (Outcome.FOUND, ("First",), ())
    assert result.unchecked.endswith(": answered with 500")
    assert not result.is_complete


def test_what_one_service_found_and_the_next_one_too_is_told_once() -> None:
    bad, good = FakeIcap(), FakeIcap()
    bad.clean = lambda item: blocked(b"X-Virus-ID: First\r\n") if item == NESTED else b"ICAP/1.0 500 No\r\n\r\n"
    good.clean = lambda item: blocked(b"X-Virus-ID: First\r\n") if item == NESTED else NO_CHANGE
    with ScriptedService(bad) as first, ScriptedService(good) as second:
        result = scan(Icap([f"icap://{one.address}/avscan" for one in (first, second)]), NESTED)
    assert [(one.name, one.part) for one in result.infections] == [("First", ""), ("Test.Virus", "2")]
    assert result.is_complete


def test_named_virus_is_found_though_the_engine_says_no_content() -> None:
    server = FakeIcap(infected=b"ICAP/1.0 204 No Content\r\nX-Infection-Found: Type=0; Threat=Let through;\r\n\r\n")
    with engine(server) as (_, check):
        assert scan(check, NESTED).names == ("Let through",)


def test_named_virus_is_found_though_the_page_for_it_is_garbage() -> None:
    head = b"ICAP/1.0 200 OK\r\nX-Virus-ID: Named\r\nEncapsulated: res-body=0\r\n\r\nno chunk\r\n"
    with engine(FakeIcap(infected=head)) as (_, check):
        assert scan(check, NESTED).names == ("Named",)


@pytest.mark.parametrize("status", [500, 503, 404, 405, 408])
def test_service_that_cannot_is_left_for_the_next(status: int) -> None:
    bad, good = FakeIcap(), FakeIcap()
    bad.clean = bad.infected = b"ICAP/1.0 %d No\r\n\r\n" % status
    with ScriptedService(bad) as first, ScriptedService(good) as second:
        check = Icap([f"icap://{one.address}/avscan" for one in (first, second)])
        assert scan(check, NESTED).is_found


@pytest.mark.parametrize("status", [400, 403, 418])
def test_message_that_the_engine_refuses_cannot_be_told(status: int) -> None:
    server = FakeIcap()
    server.clean = b"ICAP/1.0 %d No\r\n\r\n" % status
    with engine(server) as (_, check):
        for _ in range(4):
            assert scan(check).detail == f"the engine refuses: {status}"
        assert not check.circuits[0].is_open


def test_engine_without_the_method_is_a_fault() -> None:
    def answer(connected: socket.socket) -> None:
        connected.recv(65536)
        connected.sendall(b"ICAP/1.0 200 OK\r\nMethods: REQMOD\r\nEncapsulated: null-body=0\r\n\r\n")
        service.ending.wait()

    with engine(answer) as (service, check):
        assert "knows REQMOD, not RESPMOD" in scan(check).detail


def test_too_large_cannot_be_told() -> None:
    with engine(FakeIcap(), max_bytes=10, parts=False) as (_, check):
        assert "too large" in scan(check).detail


def test_service_names_itself() -> None:
    with engine(FakeIcap()) as (service, check):
        (feature,) = check.features(Deadline.after(10))
        assert (feature.is_reachable, feature.version) == (True, "Test engine 1.0")
        assert feature.address == f"icap://{service.address}/avscan"


@pytest.mark.parametrize("url", ["http://a/b", "icap:///x", "av.example.com", "icap://a/b c", "icap://a/b\r\nX: y"])
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="icap://host:port/service"):
        Icap(url)


@pytest.mark.parametrize(
    ("url", "address", "path"),
    [
        ("icap://av.example.com/scan", "av.example.com:1344", "/scan"),
        ("icap://[::1]:1345/", "[::1]:1345", "/"),
        ("icap://av:1344/a?b=c", "av:1344", "/a?b=c"),
    ],
)
def test_address_is_understood(url: str, address: str, path: str) -> None:
    service = icap_wire.Service.of(url)
    assert (service.address, service.path) == (address, path)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"ICAP/1.0 200 OK\r\nEncapsulated: " + tail))
def test_any_bytes_are_a_head_or_a_fault(raw: bytes) -> None:
    try:
        head = icap_wire.decode_head(raw)
        offset, _ = head.encapsulated
        icap_wire.Options.of(head, icap_wire.Method.RESPMOD)
    except ServiceFault:
        return
    assert 0 <= offset <= icap_wire.MAX_HEAD_BYTES
    assert isinstance(head.threat, str)
