# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of spamd and rspamd as one request needs: handlers for a `ScriptedService`, which answer as they are told."""

from __future__ import annotations

import json
import socket
from typing import Any

ANSWER: dict[str, Any] = {
    "is_skipped": False,
    "score": 6.8,
    "required_score": 15.0,
    "action": "add header",
    "symbols": {
        "SMALL": {"name": "SMALL", "score": -0.5, "description": "a little good"},
        "LARGE": {"name": "LARGE", "score": 7.3, "options": ["x"]},
    },
    "messages": {},
}


class FakeSpamd:
    """As much of spamd as its protocol's description has. Every request goes to `requests`, first line and fields, and
    message."""

    def __init__(self, answer: bytes | None = None, *, spam: bytes = b"True ; 6.8 / 5.0", body: bytes = b"") -> None:
        content = b"Content-length: %d\r\n" % len(body) if body else b""
        usual = b"SPAMD/1.1 0 EX_OK\r\n%bSpam: %b\r\n\r\n%b" % (content, spam, body)
        self.answer = usual if answer is None else answer
        self.requests: list[tuple[list[bytes], bytes]] = []

    def __call__(self, connected: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connected.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        if lines[0].startswith(b"PING"):
            connected.sendall(b"SPAMD/1.5 0 PONG\r\n")
            return
        (length,) = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"Content-length:")]
        while len(body) < length:
            body += connected.recv(65536)
        self.requests.append((lines, body))
        connected.sendall(self.answer)


class FakeRspamd:
    """As much of an HTTP server as one request needs. Every one goes to `requests`, lines and body."""

    def __init__(self, answer: object = None, *, status: bytes = b"200 OK", **more: object) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps({**ANSWER, **more}).encode()
        self.answer = b"HTTP/1.1 %b\r\nServer: rspamd/3.4\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
        self.requests: list[tuple[list[bytes], bytes]] = []

    def __call__(self, connected: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connected.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        (length,) = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"Content-Length:")]
        while len(body) < length:
            body += connected.recv(65536)
        self.requests.append((lines, body))
        connected.sendall(self.answer)
