# SPDX-License-Identifier: GPL-3.0-or-later
"""`Stream`: a connection to a service, every step of which keeps the deadline, however slowly the other end talks.

A Python socket's timeout is for one call; a service that sends a byte now and then would hold a message for hours.
Nothing is kept open between messages: a late answer has no connection to come by.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final, Self

from defang_worker.checks.faults import ServiceDown, ServiceFault

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from defang_worker.checks.budget import Deadline
    from defang_worker.mime.headers import Buffer

__all__ = ["Stream", "host_and_port", "require_address"]

# A service that is up answers a connection at once; one that does not within this time is taken for down.
_CONNECT_TIMEOUT_S: Final = 5.0
_READ_BYTES: Final = 64 * 1024


def host_and_port(address: str) -> tuple[str, int]:
    """The two halves of host:port, [ipv6]:port without its brackets; raises ValueError."""
    host, _, port = address.rpartition(":")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        host = ""
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError(f"an address is an absolute path or host:port, not {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def require_address(address: str) -> None:
    """Raises ValueError for what `Stream.connect` could not take: neither an absolute path nor host:port."""
    if not address.startswith("/"):
        host_and_port(address)


class Stream:
    """A connected stream with a deadline; a context that closes it."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self.socket = connected
        self._deadline = deadline
        self._read = b""

    @classmethod
    def connect(cls, address: str, deadline: Deadline) -> Stream:
        """Connects to a unix socket (an absolute path) or host:port; raises ServiceDown if nobody answers there."""
        timeout_s = deadline.left_s(_CONNECT_TIMEOUT_S)
        try:
            if address.startswith("/"):
                connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    connected.settimeout(timeout_s)
                    connected.connect(address)
                except BaseException:
                    connected.close()
                    raise
            else:
                connected = socket.create_connection(host_and_port(address), timeout_s)
                # The last piece of a question must not wait for the acknowledgement of the one before.
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as fault:
            raise ServiceDown(f"cannot connect: {fault.strerror or fault}") from fault
        return cls(connected, deadline)

    def hurry(self, seconds: float) -> None:
        """From now on the deadline is in so many seconds, if that is sooner."""
        self._deadline = self._deadline.sooner(seconds)

    def start_tls(self, context: ssl.SSLContext, server_name: str, at_most_s: float | None = None) -> None:
        """Makes it a TLS connection; closes it and raises ServiceDown if the other end is not what it should be."""
        try:
            self.socket.settimeout(self._deadline.left_s(at_most_s))
            self.socket = context.wrap_socket(self.socket, server_hostname=server_name)
        except OSError as fault:
            self.socket.close()
            if isinstance(fault, TimeoutError):
                raise
            raise ServiceDown(f"no TLS: {fault}") from fault

    @property
    def tls_version(self) -> str:
        """The version of TLS, as in "TLSv1.3"; empty without TLS."""
        version = getattr(self.socket, "version", None)
        return (version and version()) or ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: Buffer) -> None:
        """Sends all of it."""
        self.socket.settimeout(self._deadline.left_s())
        self.socket.sendall(data)

    def send_descriptor(self, data: bytes, descriptor: int) -> None:
        """Sends a few bytes, and with them an open file; for unix sockets."""
        self.socket.settimeout(self._deadline.left_s())
        socket.send_fds(self.socket, [data], [descriptor])

    def send_pieces(self, pieces: Sequence[Buffer]) -> None:
        """Sends all pieces, without a copy of the long ones."""
        for piece in pieces:
            self.send(piece)

    def _more(self) -> bytes:
        self.socket.settimeout(self._deadline.left_s())
        return self.socket.recv(_READ_BYTES)

    def read_into(self, buffer: memoryview) -> int:
        """Reads what there is, at least a byte, and tells how much; 0 if the other end has closed."""
        text = self._read or self._more()
        count = min(len(text), len(buffer))
        buffer[:count], self._read = text[:count], text[count:]
        return count

    def read_until(self, end: bytes, *, at_most: int) -> bytes:
        """What comes before `end`, which is read too; raises ServiceFault for an early close or too long a text."""
        while (found := self._read.find(end)) < 0:
            if len(self._read) > at_most:
                raise ServiceFault(f"answered with more than {at_most} bytes")
            piece = self._more()
            if not piece:
                raise ServiceFault("closed the connection early" if self._read else "closed the connection")
            self._read += piece
        text, self._read = self._read[:found], self._read[found + len(end) :]
        return text

    def read_to_end(self, *, at_most: int) -> bytes:
        """All that comes until the other end closes; raises ServiceFault for more than that."""
        while piece := self._more():
            self._read += piece
            if len(self._read) > at_most:
                raise ServiceFault(f"answered with more than {at_most} bytes")
        text, self._read = self._read, b""
        return text

    def read_exactly(self, count: int) -> bytes:
        """So many bytes; raises ServiceFault if fewer come."""
        pieces = [self._read]
        missing = count - len(self._read)
        while missing > 0:
            piece = self._more()
            if not piece:
                raise ServiceFault("closed the connection early")
            pieces.append(piece)
            missing -= len(piece)
        whole = b"".join(pieces)
        self._read = whole[count:]
        return whole[:count]

    @property
    def has_answer(self) -> bool:
        """Whether the other end has said something already, or closed; asks without waiting."""
        if self._read:
            return True
        self.socket.settimeout(0)
        try:
            self._read = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as fault:
            # With TLS there may be records that hold no answer, such as tickets, or the beginning of one.
            return type(fault).__name__ != "SSLWantReadError"
        return True
