# SPDX-License-Identifier: GPL-3.0-or-later
"""A nameserver on the loopback, by UDP and TCP, that answers from records given in a test, or does worse."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset

JOIN_LIMIT_S = 10.0
TTL_S = 300
NEGATIVE_TTL_S = 60


class Fault(Enum):
    """What the server does when it is asked for a name."""

    SERVFAIL = auto()
    REFUSED = auto()
    SILENT = auto()
    """It never answers."""
    GARBAGE = auto()
    """It sends bytes that are no message, by UDP and TCP."""
    TRUNCATED = auto()
    """By UDP it sends nothing but the flag; by TCP the answer."""
    TRUNCATED_ONLY = auto()
    """By UDP the flag, and by TCP it closes."""
    TRICKLE = auto()
    """By UDP it sends nothing but the flag, and by TCP a byte of the answer now and then."""
    WRONG_ID = auto()
    """It answers with somebody else's ID."""
    WRONG_QUESTION = auto()
    """It answers with the right ID to another question."""
    LATE = auto()
    """It keeps the answer until it is told to `release` what it holds."""


class DnsServer:
    """Serves `records`, lines such as `example.com MX 10 mx.example.com`, at `address` until the context is left.

    A name with records below it exists; what was not given does not. Aliases (CNAME) are followed.
    """

    def __init__(self, records: str = "") -> None:
        self._sets: dict[tuple[str, str], dns.rrset.RRset] = {}
        self.add(records)
        self.faults: dict[str, Fault] = {}
        """What to do wrong, by name."""
        self.authentic: set[str] = set()
        """Names, or names and types (`example.com MX`), whose answers have the flag AD."""
        self.asked: list[tuple[str, str, str]] = []
        """Every question that came: by udp or tcp, name and type."""
        self.hold = 0
        """If set, UDP questions are answered only when so many are waiting: then all of them."""
        self._held: list[tuple[bytes, Any]] = []
        self._late: list[tuple[bytes, Any]] = []
        self._udp, self._tcp = _bound_pair()
        self.port: int = self._udp.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def add(self, records: str) -> None:
        """Adds records; of a long TXT record each string is put in quotes."""
        for line in filter(None, map(str.strip, records.splitlines())):
            self.add_one(*line.split(None, 2))

    def add_one(self, name: str, rdtype: str, data: str) -> None:
        """Adds a record, whose name may have blanks."""
        owner = dns.name.from_text(name)
        key = (owner.to_text(omit_final_dot=True).lower(), rdtype)
        record = dns.rdata.from_text("IN", rdtype, data, origin=dns.name.root, relativize=False)
        self._sets[key] = dns.rrset.from_rdata(owner, TTL_S, *self._sets.get(key, ()), record)

    def remove(self, name: str, rdtype: str) -> None:
        """Removes the records of that name and type, if there are any."""
        self._sets.pop((name, rdtype), None)

    def names_asked(self) -> list[str]:
        """The names in the order in which they came, without those of probes."""
        return [name for _, name, _ in self.asked if name]

    def release(self) -> None:
        """Sends the answers that are held for the fault LATE."""
        late, self._late = self._late, []
        for packet, peer in late:
            self._udp.sendto(packet, peer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.send(b"x")
        self._thread.join(JOIN_LIMIT_S)
        assert not self._thread.is_alive()
        for one in (self._udp, self._tcp, self._wake, self._woken):
            one.close()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._udp, self._tcp, self._woken], [], [])
            if self._woken in ready:
                return
            if self._udp in ready:
                self._serve_udp()
            if self._tcp in ready:
                self._serve_tcp()

    def _serve_udp(self) -> None:
        packet, peer = self._udp.recvfrom(65535)
        answer = self._answer(packet, "udp")
        if answer is None:
            return
        if self._fault(packet) is Fault.LATE:
            self._late.append((answer, peer))
            return
        self._held.append((answer, peer))
        if len(self._held) >= self.hold:
            held, self._held = self._held, []
            for one, to in held:
                self._udp.sendto(one, to)

    def _serve_tcp(self) -> None:
        connected, _ = self._tcp.accept()
        connected.settimeout(JOIN_LIMIT_S)
        with connected, suppress(OSError):
            length = int.from_bytes(connected.recv(2, socket.MSG_WAITALL))
            packet = connected.recv(length, socket.MSG_WAITALL)
            if answer := self._answer(packet, "tcp"):
                if self._fault(packet) is Fault.TRICKLE:
                    self._trickle(connected)
                connected.sendall(len(answer).to_bytes(2) + answer)

    def _trickle(self, connected: socket.socket) -> None:
        connected.sendall((65535).to_bytes(2))
        while not select.select([self._woken], [], [], 0.005)[0]:
            connected.sendall(b"x")  # until the other end has closed

    def _fault(self, packet: bytes) -> Fault | None:
        name = dns.message.from_wire(packet).question[0].name
        return self.faults.get(name.to_text(omit_final_dot=True).lower())

    def _answer(self, packet: bytes, way: str) -> bytes | None:
        query = dns.message.from_wire(packet)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower().removeprefix(".")
        rdtype = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((way, name, rdtype))
        response = dns.message.make_response(query, recursion_available=True)
        match self._fault(packet):
            case Fault.SILENT:
                return None
            case Fault.GARBAGE:
                return packet[:2] + b"\xff\xfe\0what?"
            case Fault.SERVFAIL | Fault.REFUSED as fault:
                response.set_rcode(dns.rcode.from_text(fault.name))
                return response.to_wire()
            case Fault.TRUNCATED | Fault.TRUNCATED_ONLY | Fault.TRICKLE as fault:
                if way == "udp":
                    response.flags |= dns.flags.TC
                    return response.to_wire()
                if fault is Fault.TRUNCATED_ONLY:
                    return None
            case Fault.WRONG_ID:
                response.id ^= 1
            case Fault.WRONG_QUESTION:
                response.question = dns.message.make_query("wrong.example", rdtype).question
                name = "wrong.example"
            case _:
                pass
        self._fill(response, name, rdtype)
        if way == "tcp":
            return response.to_wire(max_size=65535)
        try:
            return response.to_wire()
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, rdtype: str) -> None:
        if self.authentic & {name, f"{name} {rdtype}"}:
            response.flags |= dns.flags.AD
        while alias := self._sets.get((name, "CNAME")):
            if alias in response.answer:
                return  # a loop
            response.answer.append(alias)
            name = alias[0].target.to_text(omit_final_dot=True).lower()
            if rdtype == "CNAME":
                return
        if found := self._sets.get((name, rdtype)):
            response.answer.append(found)
            return
        if not self._exists(name):
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = f"ns.example. hostmaster.example. 1 3600 600 86400 {NEGATIVE_TTL_S}"
        response.authority.append(dns.rrset.from_text(dns.name.root, NEGATIVE_TTL_S, "IN", "SOA", soa))

    def _exists(self, name: str) -> bool:
        return not name or any(one == name or one.endswith(f".{name}") for one, _ in self._sets)


def _bound_pair() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket with the same number; the system picks it for one, and the other may have to try again."""
    for _ in range(100):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            tcp.bind(udp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
            continue
        tcp.listen(16)
        return udp, tcp
    raise OSError("no number is free for both UDP and TCP")
