# SPDX-License-Identifier: GPL-3.0-or-later
"""`Exchange`: questions that are under way together, by UDP, each answer being told when it comes.

All questions go out at once, over one socket a nameserver, whose port the system picks at random. What comes in counts
only if nameserver, port, ID and question are right; anything else could be anybody's. A truncated answer is fetched
again by TCP. If a nameserver is silent or says that it cannot tell, the next is asked, and then the first again.
"""

from __future__ import annotations

import random
import select
import socket
import time
from typing import TYPE_CHECKING, Final, cast

import dns.exception
import dns.flags
import dns.message
import dns.query

from defang_worker.checks.dns.answer import Answer, BadResponse, Question, interpret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dns.message import QueryMessage

    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.dns.nameserver import Nameserver

__all__ = ["Exchange"]

# Most answers come within this time; a question or answer that got lost is then repeated. Doubled each round.
_FIRST_TRY_S: Final = 1.5
# A probe that was given less says nothing.
_PROBE_S: Final = 1.0
# What fits every path without fragments: the DNS flag day of 2020.
_UDP_PAYLOAD_BYTES: Final = 1232
_MAX_DATAGRAM_BYTES: Final = 65535
# Few records that mail is checked by are so long. A message whose names all are is not to have us fetch hundreds.
_MAX_BY_TCP: Final = 16
# Any nameserver that works knows the root's nameservers at once: whether it is there, or only slow about one name.
_PROBE: Final = Question("", "NS")
_random: Final = random.SystemRandom()


class _Line:
    """One nameserver: the socket to it, and what it has said."""

    __slots__ = ("could_not", "has_spoken", "is_gone", "probed_at", "server", "socket")

    def __init__(self, server: Nameserver) -> None:
        self.server = server
        self.socket: socket.socket | None = None
        self.has_spoken = False
        self.is_gone = False
        self.probed_at: float | None = None
        self.could_not: set[int] = set()
        """The questions that it said it cannot answer."""

    def send(self, packets: list[bytes]) -> None:
        """Sends questions; raises OSError if the nameserver is not there."""
        if self.socket is None:
            self.socket = socket.socket(socket.AF_INET6 if self.server.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.setblocking(False)
            self.socket.connect((self.server.host, self.server.port))
        for packet in packets:
            self.socket.send(packet)

    def is_gone_for(self, fault: OSError) -> str:
        """Notes that it cannot be reached, and tells why."""
        self.is_gone = True
        reason = f"{self.server.host}: {fault.strerror or fault}"
        self.server.circuit.failed(reason, time.monotonic(), is_down=True)
        return reason

    def judge(self, now: float) -> None:
        """Tells the circuit of a nameserver that is not there."""
        if not self.has_spoken and not self.is_gone and self.probed_at is not None and now - self.probed_at >= _PROBE_S:
            self.server.circuit.failed(f"{self.server.host}: no answer", now, is_down=False)


class Exchange:
    """Some questions and who may be asked, in this order; for one use. Close it, and late answers reach nobody."""

    def __init__(self, questions: Sequence[Question], servers: Sequence[Nameserver]) -> None:
        self._lines = [_Line(server) for server in servers]
        self._by_descriptor: dict[int, _Line] = {}
        *numbers, probe_number = _random.sample(range(65536), len(questions) + 1)
        self._open = dict(zip(numbers, questions, strict=True))
        self._queries = {number: _query(question, number) for number, question in self._open.items()}
        self._probe = _query(_PROBE, probe_number)
        self._reasons: dict[int, str] = {}
        self._truncated: list[tuple[int, _Line]] = []
        self._by_tcp_left = _MAX_BY_TCP
        self._poll = select.poll()

    def close(self) -> None:
        """Closes the sockets."""
        for line in self._lines:
            if line.socket is not None:
                line.socket.close()

    def answers(self, deadline: Deadline) -> Iterator[tuple[Question, Answer]]:
        """Each question with its answer, as they come; by the deadline the others, as unknown."""
        for line, try_s in self._tries():
            now = time.monotonic()
            if not self._open or now >= deadline.at:
                break
            until = min(deadline.at, now + try_s)
            while self._waits_for(line) and (ready := self._ready(until)):
                for other in ready:
                    yield from self._read(other)
            yield from self._by_tcp(deadline)
        for line in self._lines:
            line.judge(time.monotonic())
        for number, question in self._open.items():
            yield question, Answer.unknown(self._reasons.get(number, "no answer in time"))

    def _tries(self) -> Iterator[tuple[_Line, float]]:
        """Sends what is open to one nameserver after the other, for as long as any of them may still answer."""
        try_s = _FIRST_TRY_S
        while any(self._waits_for(line) for line in self._lines):
            for line in self._lines:
                if self._waits_for(line) and self._send(line):
                    yield line, try_s
            try_s *= 2

    def _waits_for(self, line: _Line) -> bool:
        return not line.is_gone and not self._open.keys() <= line.could_not

    def _send(self, line: _Line) -> bool:
        packets = [self._queries[number].to_wire() for number in self._open.keys() - line.could_not]
        if line.socket is not None and line.probed_at is None and not line.has_spoken:
            packets.append(self._probe.to_wire())
            line.probed_at = time.monotonic()
        try:
            line.send(packets)
        except BlockingIOError:
            pass  # the system's buffer is full; the next round repeats what did not go
        except OSError as fault:
            self._lost(line, fault)
            return False
        assert line.socket is not None
        self._by_descriptor[line.socket.fileno()] = line
        self._poll.register(line.socket, select.POLLIN)
        return True

    def _lost(self, line: _Line, fault: OSError) -> None:
        reason = line.is_gone_for(fault)
        for number in self._open:
            self._reasons.setdefault(number, reason)
        if line.socket is not None and line.socket.fileno() in self._by_descriptor:
            del self._by_descriptor[line.socket.fileno()]
            self._poll.unregister(line.socket)

    def _ready(self, until: float) -> list[_Line]:
        """Those that have sent something; empty if none does until then."""
        wait_ms = max(0.0, until - time.monotonic()) * 1000
        return [self._by_descriptor[descriptor] for descriptor, _ in self._poll.poll(wait_ms)]

    def _read(self, line: _Line) -> Iterator[tuple[Question, Answer]]:
        """All that has come from one nameserver."""
        assert line.socket is not None
        while not line.is_gone:
            try:
                packet = line.socket.recv(_MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as fault:
                self._lost(line, fault)
                return
            yield from self._told(line, packet)

    def _told(self, line: _Line, packet: bytes) -> Iterator[tuple[Question, Answer]]:
        """The answer in a packet, if it is one to a question that is open."""
        number = int.from_bytes(packet[:2])
        query = self._queries.get(number, self._probe)
        try:
            response = cast("QueryMessage", dns.message.from_wire(packet, raise_on_truncation=False))
        except (dns.exception.DNSException, ValueError) as fault:
            self._reasons[number] = f"{line.server.host}: garbage: {str(fault) or type(fault).__name__}"
            return
        if not query.is_response(response):
            return
        if not line.has_spoken:
            line.has_spoken = True
            line.server.circuit.worked()
        if number not in self._open:
            return  # the probe, or an answer that another nameserver has given already
        if response.flags & dns.flags.TC:
            line.could_not.add(number)
            self._truncated.append((number, line))
            return
        yield from self._interpreted(number, line, response)

    def _interpreted(self, number: int, line: _Line, response: QueryMessage) -> Iterator[tuple[Question, Answer]]:
        try:
            answer = interpret(response)
        except BadResponse as fault:
            line.could_not.add(number)
            self._reasons[number] = f"{line.server.host}: {fault}"
            return
        yield self._open.pop(number), answer

    def _by_tcp(self, deadline: Deadline) -> Iterator[tuple[Question, Answer]]:
        """Fetches again what did not fit, one after the other, none of which may take the time of the others."""
        truncated, self._truncated = self._truncated, []
        for place, (number, line) in enumerate(truncated):
            left_s = (deadline.at - time.monotonic()) / (len(truncated) - place)
            if number not in self._open or left_s <= 0:
                continue
            server = line.server
            if not self._by_tcp_left:
                self._reasons[number] = f"{server.host}: too many long answers"
                continue
            self._by_tcp_left -= 1
            try:
                response = dns.query.tcp(self._queries[number], server.host, left_s, port=server.port)
            except (OSError, EOFError, dns.exception.DNSException, ValueError) as fault:
                self._reasons[number] = f"{server.host}: by TCP: {str(fault) or type(fault).__name__}"
                continue
            yield from self._interpreted(number, line, cast("QueryMessage", response))


def _query(question: Question, number: int) -> QueryMessage:
    """The question for the wire; raises ValueError if it cannot be asked. AD asks for the word on authenticity (RFC
    6840, section 5.7) without all the signatures."""
    return dns.message.make_query(
        question.dns_name,
        question.type,
        id=number,
        flags=dns.flags.RD | dns.flags.AD,
        use_edns=0,
        payload=_UDP_PAYLOAD_BYTES,
    )
