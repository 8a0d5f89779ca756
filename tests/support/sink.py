# SPDX-License-Identifier: GPL-3.0-or-later
"""An SMTP server on loopback that keeps every message with its exact bytes: where the real MTAs deliver to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from tests.support.process import wait_until

LINE_LIMIT_BYTES = 1 << 20
# 8BITMIME, lest an MTA converts 8-bit mail to quoted-printable before it hands it over.
_GREETING_LINES = (b"250-sink.example.net", b"250-8BITMIME", b"250 PIPELINING")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message as it arrived: addresses with their angle brackets, content with dots unstuffed."""

    sender: bytes
    recipients: tuple[bytes, ...]
    content: bytes


@dataclass(slots=True)
class _Transaction:
    sender: bytes | None = None
    recipients: list[bytes] = field(default_factory=list)


class Sink:
    """Listens from `with` on; `deliveries` grows as mail comes in."""

    def __init__(self, *, farewell: bytes = b"221 2.0.0 bye") -> None:
        """`farewell` is the reply to QUIT; with an empty one the connection just ends."""
        self.deliveries: list[Delivery] = []
        self.greeted_as: list[bytes] = []
        """What clients said that their names are."""
        self._farewell = farewell
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._connections: set[socket.socket] = set()
        self._acceptor = threading.Thread(target=self._accept, name="sink", daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(10)

    def wait_for(self, recipient: bytes, limit_s: float = 30.0) -> Delivery:
        """The first message for that recipient (without brackets), waiting for it to come."""
        wait_until(lambda: bool(self.received(recipient)), f"mail for {recipient!r} at the sink", limit_s)
        return self.received(recipient)[0]

    def received(self, recipient: bytes) -> list[Delivery]:
        """All messages so far for that recipient."""
        return [each for each in tuple(self.deliveries) if b"<" + recipient + b">" in each.recipients]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                self._talk(connection, lines.readline)
        except OSError:
            pass  # The MTA hung up; what was not confirmed stays in its queue.
        finally:
            self._connections.discard(connection)

    def _talk(self, connection: socket.socket, readline: Callable[[int], bytes]) -> None:
        connection.sendall(b"220 sink.example.net ESMTP\r\n")
        state = _Transaction()
        while line := readline(LINE_LIMIT_BYTES):
            verb, _, rest = line.rstrip(b"\r\n").partition(b" ")
            reply: tuple[bytes, ...] = (b"250 2.0.0 ok",)
            match verb.upper():
                case b"EHLO":
                    self.greeted_as.append(rest)
                    reply = _GREETING_LINES
                case b"MAIL":
                    state = _Transaction(sender=_address(rest))
                case b"RCPT":
                    state.recipients.append(_address(rest))
                case b"DATA":
                    connection.sendall(b"354 go on\r\n")
                    self._keep(state, _read_content(readline))
                case b"RSET":
                    state = _Transaction()
                case b"QUIT":
                    reply = (self._farewell,) if self._farewell else ()
                case b"HELO" | b"NOOP":
                    pass
                case _:
                    reply = (b"502 5.5.2 not known here",)
            connection.sendall(b"".join(part + b"\r\n" for part in reply))
            if verb.upper() == b"QUIT":
                return

    def _keep(self, state: _Transaction, content: bytes) -> None:
        if state.sender is None or not state.recipients:
            raise OSError("DATA without MAIL and RCPT")
        self.deliveries.append(Delivery(sender=state.sender, recipients=tuple(state.recipients), content=content))


def _address(argument: bytes) -> bytes:
    """`TO:<a@b> NOTIFY=NEVER` gives `<a@b>`."""
    path = argument.partition(b":")[2].strip()
    return path[: path.index(b">") + 1]


def _read_content(readline: Callable[[int], bytes]) -> bytes:
    lines = []
    while (line := readline(LINE_LIMIT_BYTES)) != b".\r\n":
        if not line:
            raise OSError("the connection ended inside a message")
        lines.append(line.removeprefix(b"."))
    return b"".join(lines)
