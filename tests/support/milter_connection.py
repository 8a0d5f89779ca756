# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to a milter, from the MTA's side: negotiation, a method a callback, packets, time limits.

Protocol version 6 and older; blocking. `mta.py` plays whole transactions with it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from defang_worker.trial.mta_message import Change, ReplaceBody
from tests.support.milter_packets import (
    CONTINUE,
    EVERYTHING,
    NOT_ANSWERED,
    NOT_SENT,
    Answer,
    MilterClosedError,
    MilterError,
    MilterGarbageError,
    MilterTimeoutError,
    Offer,
    Stage,
    decode_answer,
    decode_change,
    decode_terms,
)

# A milter may answer with large `b` packets; beyond this the length field is taken for garbage.
MAX_PACKET_BYTES = 64 * 1024 * 1024
# Packets that need no answer are collected up to this size, so that headers and body cost one system call.
FLUSH_BYTES = 256 * 1024
RECEIVE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The SMTP client that the MTA tells the milter about. Family: `4`, `6`, `L` (unix), `U` (unknown)."""

    hostname: bytes = b"client.example.com"
    address: bytes = b"192.0.2.7"
    port: int = 45678
    family: bytes = b"4"
    helo: bytes | None = b"client.example.com"


CLIENT = Client()


Macros = Mapping[bytes, bytes]
NO_MACROS: Macros = {}


class MilterConnection:
    """One connection to a milter, negotiated at once.

    `address` is `unix:PATH`, a path alone, or `inet:PORT@HOST`. Raises MilterError (closed, timeout, garbage), each
    naming the stage.
    """

    def __init__(self, address: str, *, timeout_s: float = 60.0, offer: Offer = EVERYTHING) -> None:
        self.progress_packets = 0
        self.macro_lists: Mapping[Stage, frozenset[bytes]] = {}
        self._stage = Stage.NEGOTIATE
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._in = bytearray()
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

    def cut(self) -> None:
        """Cut the connection from another thread; who waits for an answer gets MilterClosedError."""
        self._socket.shutdown(socket.SHUT_RDWR)

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
    kind, colon, rest = address.partition(":")
    port, _, host = rest.partition("@")
    is_unix = not colon or kind in ("unix", "local")
    connection = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET)
    try:
        connection.settimeout(timeout_s)
        connection.connect((rest if colon else address) if is_unix else (host or "127.0.0.1", int(port)))
        if not is_unix:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        connection.close()
        raise MilterClosedError(f"{address}: {error}") from error
    return connection
