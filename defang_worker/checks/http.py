# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request and its answer, written and read by `http.client`, over a `Stream` that keeps the deadline."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any

from defang_worker.checks.faults import ServiceFault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from defang_worker.checks.stream import Stream
    from defang_worker.mime.headers import Buffer

__all__ = ["Answer", "exchange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered."""

    status: int
    server: str
    """What it calls itself; empty if it does not."""
    content_type: str = ""
    """What it calls the body, in small letters and without parameters."""
    body: bytes
    has_end: bool = True
    """Whether the server told where the body ends; if not, somebody on the way may have cut it, with TLS too."""


class _Reader(io.RawIOBase):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.read_into(memoryview(buffer))


class _Socket:
    """So much of a socket as `http.client` uses. Whoever made the stream closes it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def sendall(self, data: bytes) -> None:
        self._stream.send(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._stream))

    def close(self) -> None:
        pass


def exchange(
    stream: Stream,
    method: str,
    path: str,
    fields: Iterable[tuple[str, bytes]] = (),
    body: Buffer = b"",
    *,
    host: str,
    at_most: int,
) -> Answer:
    """The answer; raises ServiceFault for what is none, or one with a larger body, and OSError."""
    connection = HTTPConnection(host)
    connection.sock = _Socket(stream)
    connection.putrequest(method, path, skip_accept_encoding=True)
    connection.putheader("Connection", "close")
    connection.putheader("Content-Length", str(len(body)))
    for name, value in fields:
        connection.putheader(name, value)
    try:
        connection.endheaders()
        # A server that refuses does not read it all; it has answered then.
        with suppress(BrokenPipeError, ConnectionResetError):
            if body:
                stream.send(body)
        response = connection.getresponse()
        content = response.read(at_most + 1)
    except (HTTPException, ValueError) as fault:
        raise ServiceFault(f"answered with what is no answer: {type(fault).__name__} {str(fault)[:200]}") from fault
    if len(content) > at_most:
        raise ServiceFault(f"answered with more than {at_most} bytes")
    if response.length:
        raise ServiceFault("closed the connection early")
    return Answer(
        status=response.status,
        server=response.getheader("Server") or "",
        content_type=(response.getheader("Content-Type") or "").partition(";")[0].strip().lower(),
        body=content,
        has_end=response.chunked or response.getheader("Content-Length") is not None,
    )
