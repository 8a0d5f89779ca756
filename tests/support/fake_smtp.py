# SPDX-License-Identifier: GPL-3.0-or-later
"""An SMTP server that says what it is told to, as the handler of a `ScriptedService`."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field

from tests.support.certificate import CERTIFICATE, KEY

LINE_LIMIT_BYTES = 4096


@dataclass(kw_only=True)
class FakeSmtp:
    """Serves connections; each command is answered by its verb's reply, as it stands, without its last line end."""

    greeting: str = "220 mail.example.org ESMTP"
    extensions: tuple[str, ...] = ("PIPELINING", "DSN", "SMTPUTF8")
    replies: dict[str, str] = field(default_factory=dict)
    """By verb (MAIL) or by line (RCPT TO:<nobody@example.org>); an empty one closes the connection."""
    tls: bool = False
    """Whether STARTTLS is offered, with the certificate of the tests."""
    commands: list[str] = field(default_factory=list)
    """All that came, of all connections; what came through TLS begins with "tls "."""

    def __call__(self, connected: socket.socket) -> None:
        self._send(connected, self.greeting)
        if self._talk(connected, has_tls=False) == "STARTTLS":
            with self._context().wrap_socket(connected, server_side=True) as secured:
                self._talk(secured, has_tls=True)

    def _talk(self, connected: socket.socket, *, has_tls: bool) -> str:
        """Serves commands until the connection is to be closed, or to be another one; the last verb."""
        buffered = b""
        while True:
            while b"\n" not in buffered:
                piece = connected.recv(LINE_LIMIT_BYTES)
                if not piece:
                    return ""
                buffered += piece
            raw, buffered = buffered.split(b"\n", 1)
            line = raw.rstrip(b"\r").decode("utf-8", "surrogateescape")
            self.commands.append(("tls " if has_tls else "") + line)
            verb = line.split()[0].upper()
            reply = self.replies.get(line, self.replies.get(verb, self._usual(verb, has_tls=has_tls)))
            if reply == "":
                return ""
            self._send(connected, reply)
            if verb == "QUIT" or (verb == "STARTTLS" and reply.startswith("220")):
                return verb

    def _usual(self, verb: str, *, has_tls: bool) -> str:
        if verb == "EHLO":
            lines = ["mail.example.org", *self.extensions, *(["STARTTLS"] if self.tls and not has_tls else [])]
            return "\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"])
        return {"QUIT": "221 2.0.0 bye", "STARTTLS": "220 2.0.0 ready"}.get(verb, "250 2.1.0 ok")

    @staticmethod
    def _send(connected: socket.socket, reply: str) -> None:
        connected.sendall(reply.encode("utf-8", "surrogateescape") + b"\r\n")

    @staticmethod
    def _context() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, KEY)
        return context
