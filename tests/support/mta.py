# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTA's side of the milter protocol (version 6 and older), blocking, for tests, demo and benchmark.

`Milter` is one connection to a milter: a method a callback, in the order of SMTP. `Milter.send` plays a whole
transaction and tells what an MTA would make of it: verdict, SMTP reply, changes, the message as delivered.
Bytes everywhere. How changes act on a message is in `message.py`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.support.message import Change, Envelope, Message, ReplaceBody, apply_changes
from tests.support.milter_packets import (
    BODY_CHUNK_BYTES,
    CONTINUE,
    EVERYTHING,
    LEADING_SPACE,
    NOT_ANSWERED,
    NOT_SENT,
    Answer,
    MilterClosedError,
    MilterError,
    MilterGarbageError,
    MilterTimeoutError,
    Offer,
    Reply,
    Stage,
    Verdict,
    decode_answer,
    decode_change,
    decode_terms,
)

__all__ = [
    "CONTINUE",
    "POSTFIX",
    "SENDMAIL",
    "Answer",
    "Client",
    "Habits",
    "Message",
    "Milter",
    "MilterClosedError",
    "MilterError",
    "MilterGarbageError",
    "MilterTimeoutError",
    "Offer",
    "Outcome",
    "Reply",
    "Stage",
    "Verdict",
    "send",
]

# A milter may answer with large `b` packets; beyond this the length field is taken for garbage.
MAX_PACKET_BYTES = 64 * 1024 * 1024
# Packets that need no answer are collected up to this size, so that headers and body cost one system call.
FLUSH_BYTES = 256 * 1024
RECEIVE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one message.

    `stage` gave the final answer. `changes` are the milter's requests in order, also those that came before a refusal.
    `message` and `envelope` are what the MTA delivers; `message` is None if nothing is. `refused` has the answers to
    recipients that were not accepted.
    """

    stage: Stage
    verdict: Verdict
    reply: Reply | None
    changes: tuple[Change, ...]
    message: Message | None
    envelope: Envelope
    refused: Mapping[bytes, Answer]
    progress_packets: int

    @property
    def code(self) -> int:
        """The SMTP reply code that the client sees; where the milter gave none, Sendmail's."""
        if self.reply is not None:
            return self.reply.code
        return {Verdict.REJECT: 550, Verdict.TEMPFAIL: 451}.get(self.verdict, 250)

    @property
    def delivered(self) -> bool:
        return self.message is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The SMTP client that the MTA tells the milter about. Family: `4`, `6`, `L` (unix), `U` (unknown)."""

    hostname: bytes = b"client.example.com"
    address: bytes = b"192.0.2.7"
    port: int = 45678
    family: bytes = b"4"
    helo: bytes | None = b"client.example.com"


CLIENT = Client()


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Where MTAs differ.

    `late_queue_id`: the queue ID is first told behind the first accepted recipient. `deleted_fields_count`: a deleted
    header field keeps its number for the changes that follow.
    """

    late_queue_id: bool
    deleted_fields_count: bool


SENDMAIL = Habits(late_queue_id=False, deleted_fields_count=True)
POSTFIX = Habits(late_queue_id=True, deleted_fields_count=False)

Macros = Mapping[bytes, bytes]
NO_MACROS: Macros = {}


@dataclass(slots=True, kw_only=True)
class _Transaction:
    """The state of one `send`."""

    message: Message
    envelope: Envelope
    macros: Mapping[Stage, Macros]
    habits: Habits
    changes: list[Change] = field(default_factory=list)
    refused: dict[bytes, Answer] = field(default_factory=dict)


class Milter:
    """One connection to a milter, negotiated at once.

    `address` is `unix:PATH` or `inet:PORT@HOST`. Raises MilterError (closed, timeout, garbage), each naming the stage.
    """

    def __init__(self, address: str, *, timeout_s: float = 60.0, offer: Offer = EVERYTHING) -> None:
        self.progress_packets = 0
        self.macro_lists: Mapping[Stage, frozenset[bytes]] = {}
        self._stage = Stage.NEGOTIATE
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._in = bytearray()
        self._greeted: Answer | None = None
        self._socket = _connect(address, timeout_s)
        try:
            self._negotiate(offer)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.quit()

    # -- the callbacks, in the order of SMTP

    def connect(self, client: Client = CLIENT, macros: Macros = NO_MACROS) -> Answer:
        where = b""
        if client.family != b"U":
            where = struct.pack(">H", client.port) + client.address + b"\0"
        return self._event(Stage.CONNECT, client.hostname + b"\0" + client.family + where, macros)

    def helo(self, name: bytes, macros: Macros = NO_MACROS) -> Answer:
        return self._event(Stage.HELO, name + b"\0", macros)

    def mail(self, sender: bytes, arguments: Sequence[bytes] = (), macros: Macros = NO_MACROS) -> Answer:
        return self._event(Stage.MAIL, b"\0".join([sender, *arguments, b""]), macros)

    def rcpt(self, recipient: bytes, arguments: Sequence[bytes] = (), macros: Macros = NO_MACROS) -> Answer:
        return self._event(Stage.RCPT, b"\0".join([recipient, *arguments, b""]), macros)

    def data(self, macros: Macros = NO_MACROS) -> Answer:
        return self._event(Stage.DATA, b"", macros)

    def header(self, name: bytes, value: bytes) -> Answer:
        return self._event(Stage.HEADER, name + b"\0" + value + b"\0")

    def eoh(self, macros: Macros = NO_MACROS) -> Answer:
        return self._event(Stage.EOH, b"", macros)

    def body(self, chunk: bytes) -> Answer:
        return self._event(Stage.BODY, chunk)

    def eom(self, macros: Macros = NO_MACROS) -> tuple[Answer, list[Change]]:
        """End of message: the final answer, and the changes in the order in which they came."""
        self._send_macros(Stage.EOM, macros)
        self._stage = Stage.EOM
        self._put(b"E")
        self._flush()
        changes: list[Change] = []
        bodies: list[bytes] = []
        while True:
            letter, data = self._read_packet()
            if letter == b"b":
                bodies.append(data)
            elif (change := decode_change(letter, data)) is not None:
                changes.append(change)
            else:
                break
        if bodies:
            changes.append(ReplaceBody(body=b"".join(bodies)))
        return decode_answer(self._stage, letter, data), changes

    def abort(self) -> None:
        """Drop the current message; the connection stays."""
        self._put(b"A")
        self._flush()

    def quit_nc(self) -> None:
        """End of this SMTP connection; the next `connect` begins a new one over the same socket."""
        self._put(b"K")
        self._flush()
        self._greeted = None

    def quit(self) -> None:
        """Say goodbye and close; a milter that is gone already is no error."""
        try:
            self._put(b"Q")
            self._flush()
        except MilterError:
            pass
        finally:
            self._socket.close()

    def close(self) -> None:
        """Close the socket without a word, as an MTA does that was killed."""
        self._socket.close()

    # -- a whole transaction

    def send(
        self,
        message: bytes | Message,
        *,
        sender: bytes = b"<sender@example.com>",
        recipients: Sequence[bytes] = (b"<rcpt@example.org>",),
        queue_id: bytes = b"Q0000001",
        client: Client = CLIENT,
        mail_arguments: Sequence[bytes] = (),
        macros: Mapping[Stage, Macros] | None = None,
        habits: Habits = SENDMAIL,
    ) -> Outcome:
        """Play one message through the milter, with connect and HELO if they were not said yet on this connection.

        Addresses carry their angle brackets. `macros` come on top of Sendmail's usual ones. A connection that the
        milter refused or accepted at connect or HELO gives that outcome for every message until `quit_nc`.
        """
        parsed = Message.parse(message) if isinstance(message, bytes) else message
        work = _Transaction(
            message=parsed,
            envelope=Envelope(sender=sender, recipients=list(recipients)),
            macros=_usual_macros(queue_id, sender, client, habits, macros or {}),
            habits=habits,
        )
        answer = self._greet(client, work.macros)
        if answer.verdict is Verdict.CONTINUE:
            answer = self._play(work, mail_arguments)
        return self._outcome(work, answer)

    def _greet(self, client: Client, macros_of: Mapping[Stage, Macros]) -> Answer:
        if self._greeted is None:
            self._greeted = self.connect(client, macros_of[Stage.CONNECT])
            if self._greeted.verdict is Verdict.CONTINUE and client.helo is not None:
                self._greeted = self.helo(client.helo, macros_of[Stage.HELO])
        return self._greeted

    def _play(self, work: _Transaction, mail_arguments: Sequence[bytes]) -> Answer:
        """MAIL to end of message; at a final answer before the end the message is aborted."""
        answer = self.mail(work.envelope.sender, mail_arguments, work.macros[Stage.MAIL])
        if answer.verdict is Verdict.CONTINUE:
            answer = self._recipients(work)
        if answer.verdict is Verdict.CONTINUE:
            answer = self.data(work.macros[Stage.DATA])
        if answer.verdict is Verdict.CONTINUE:
            answer = self._content(work)
        if answer.verdict is not Verdict.CONTINUE:
            self.abort()
            return answer
        answer, work.changes = self.eom(work.macros[Stage.EOM])
        return answer

    def _recipients(self, work: _Transaction) -> Answer:
        """RCPT for each; the last refusal counts if none was accepted."""
        answer = CONTINUE
        asked, work.envelope.recipients = work.envelope.recipients, []
        for recipient in asked:
            own = {b"{rcpt_mailer}": b"local", b"{rcpt_host}": b"", b"{rcpt_addr}": recipient.strip(b"<>")}
            known = work.macros[Stage.DATA] if work.envelope.recipients and work.habits.late_queue_id else NO_MACROS
            answer = self.rcpt(recipient, macros={**own, **known, **work.macros[Stage.RCPT]})
            if answer.verdict in (Verdict.ACCEPT, Verdict.DISCARD):
                return answer
            if answer.verdict is Verdict.CONTINUE:
                work.envelope.recipients.append(recipient)
            else:
                work.refused[recipient] = answer
        return CONTINUE if work.envelope.recipients else answer

    def _content(self, work: _Transaction) -> Answer:
        with_leading_space = self.steps & LEADING_SPACE
        for header in work.message.headers:
            value = header.after_colon.replace(b"\r\n", b"\n") if with_leading_space else header.value
            answer = self.header(header.name.rstrip(b" \t"), value)
            if answer.verdict is not Verdict.CONTINUE:
                return answer
        answer = self.eoh(work.macros[Stage.EOH])
        body = work.message.body
        for at in range(0, len(body), BODY_CHUNK_BYTES):
            if answer.verdict is not Verdict.CONTINUE:
                break
            answer = self.body(body[at : at + BODY_CHUNK_BYTES])
        return CONTINUE if answer.verdict is Verdict.SKIP else answer

    def _outcome(self, work: _Transaction, answer: Answer) -> Outcome:
        message: Message | None = None
        verdict = answer.verdict
        if verdict in (Verdict.CONTINUE, Verdict.ACCEPT):
            verdict = Verdict.ACCEPT
            counting = work.habits.deleted_fields_count
            message = apply_changes(work.message, work.envelope, work.changes, deleted_fields_count=counting)
        return Outcome(
            stage=self._stage,
            verdict=verdict,
            reply=answer.reply,
            changes=tuple(work.changes),
            message=message,
            envelope=work.envelope,
            refused=work.refused,
            progress_packets=self.progress_packets,
        )

    # -- packets

    def _negotiate(self, offer: Offer) -> None:
        self._put(b"O" + struct.pack(">III", offer.version, offer.actions, offer.steps))
        self._flush()
        letter, data = self._read_packet()
        if letter != b"O":
            raise MilterGarbageError(f"negotiation: packet {letter!r} instead of the milter's terms")
        terms = decode_terms(data, offer)
        self.version, self.actions, self.steps = terms.version, terms.actions, terms.steps
        self.macro_lists = terms.macro_lists

    def _event(self, stage: Stage, data: bytes, macros: Macros = NO_MACROS) -> Answer:
        """Send one callback with its macros; CONTINUE at once where the milter wants no callback or gives no answer."""
        if self.steps & NOT_SENT[stage]:
            return CONTINUE
        self._send_macros(stage, macros)
        self._stage = stage
        self._put(stage.encode() + data)
        if self.steps & NOT_ANSWERED[stage]:
            if self._out_bytes > FLUSH_BYTES:
                self._flush()
            return CONTINUE
        self._flush()
        return decode_answer(stage, *self._read_packet())

    def _send_macros(self, stage: Stage, macros: Macros) -> None:
        wanted = self.macro_lists.get(stage)
        pairs = [name + b"\0" + value + b"\0" for name, value in macros.items() if wanted is None or name in wanted]
        if pairs:
            self._put(b"D" + stage.encode() + b"".join(pairs))

    def _put(self, packet: bytes) -> None:
        self._out.append(struct.pack(">I", len(packet)))
        self._out.append(packet)
        self._out_bytes += 4 + len(packet)

    def _flush(self) -> None:
        out = b"".join(self._out)
        self._out.clear()
        self._out_bytes = 0
        try:
            self._socket.sendall(out)
        except TimeoutError as error:
            raise MilterTimeoutError(f"{self._stage.name}: the milter takes no more bytes") from error
        except OSError as error:
            raise MilterClosedError(f"{self._stage.name}: {error}") from error

    def _read_packet(self) -> tuple[bytes, bytes]:
        """The next packet that is not a sign of progress: letter and data."""
        while True:
            self._fill(4)
            (length,) = struct.unpack_from(">I", self._in)
            if not 1 <= length <= MAX_PACKET_BYTES:
                raise MilterGarbageError(f"{self._stage.name}: packet length {length}, bytes {bytes(self._in[:40])!r}")
            self._fill(4 + length)
            letter, data = bytes(self._in[4:5]), bytes(self._in[5 : 4 + length])
            del self._in[: 4 + length]
            if letter != b"p":
                return letter, data
            self.progress_packets += 1

    def _fill(self, wanted: int) -> None:
        while len(self._in) < wanted:
            try:
                got = self._socket.recv(RECEIVE_BYTES)
            except TimeoutError as error:
                raise MilterTimeoutError(
                    f"{self._stage.name}: no answer within {self._socket.gettimeout()} s"
                ) from error
            except OSError as error:
                raise MilterClosedError(f"{self._stage.name}: {error}") from error
            if not got:
                raise MilterClosedError(
                    f"{self._stage.name}: the milter closed the connection, {len(self._in)} bytes read"
                )
            self._in += got


def _connect(address: str, timeout_s: float) -> socket.socket:
    kind, _, rest = address.partition(":")
    try:
        if kind in ("unix", "local"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(timeout_s)
            connection.connect(rest)
        else:
            port, _, host = rest.partition("@")
            connection = socket.create_connection((host or "127.0.0.1", int(port)), timeout_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise MilterClosedError(f"{address}: {error}") from error
    return connection


def _usual_macros(
    queue_id: bytes, sender: bytes, client: Client, habits: Habits, extra: Mapping[Stage, Macros]
) -> dict[Stage, Macros]:
    """Sendmail's default macros of each stage, and those of the caller over them."""
    known: Macros = {b"i": queue_id}
    usual: dict[Stage, Macros] = {
        Stage.CONNECT: {
            b"j": b"mx.example.org",
            b"_": b"%s [%s]" % (client.hostname, client.address),
            b"{daemon_name}": b"MTA",
            b"{daemon_port}": b"25",
            b"{if_name}": b"localhost",
            b"{if_addr}": b"127.0.0.1",
        },
        Stage.MAIL: {
            **(NO_MACROS if habits.late_queue_id else known),
            b"{mail_mailer}": b"esmtp",
            b"{mail_host}": b"example.com",
            b"{mail_addr}": sender.strip(b"<>"),
        },
        Stage.DATA: known,
        Stage.EOH: known,
        Stage.EOM: known,
    }
    return {stage: {**usual.get(stage, NO_MACROS), **extra.get(stage, NO_MACROS)} for stage in Stage}


def send(address: str, message: bytes | Message, *, timeout_s: float = 60.0, **how: object) -> Outcome:
    """One message over a connection of its own; the keywords are those of `Milter.send`."""
    with Milter(address, timeout_s=timeout_s) as milter:
        return milter.send(message, **how)  # type: ignore[arg-type]
