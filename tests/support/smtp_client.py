# SPDX-License-Identifier: GPL-3.0-or-later
"""An SMTP client that gives the exact reply that ended a transaction, and sends the exact bytes it was given."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpReply:
    """The reply that decided, and the command that got it (`connect`, `ehlo`, `mail`, `rcpt`, `data`, `content`)."""

    command: str
    code: int
    text: bytes


class SmtpSession:
    """A connection to 127.0.0.1, with the greeting and EHLO done on the first message."""

    def __init__(self, port: int, *, helo: str = "client.example.com") -> None:
        self._client = smtplib.SMTP(timeout=TIMEOUT_S)
        self._steps = [("ehlo", f"EHLO {helo}")]
        code, text = self._client.connect("127.0.0.1", port)
        self._refused = None if code == 220 else SmtpReply(command="connect", code=code, text=text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(smtplib.SMTPServerDisconnected):
            self._client.quit()
        self._client.close()

    def send(self, content: bytes, *, recipients: Sequence[str], sender: str = "sender@example.com") -> SmtpReply:
        """One transaction: the first refusal, or the reply to the content (lines end with CR LF)."""
        if self._refused is not None:
            return self._refused
        steps = [
            *self._steps,
            ("mail", f"MAIL FROM:<{sender}> BODY=8BITMIME"),
            *(("rcpt", f"RCPT TO:<{recipient}>") for recipient in recipients),
            ("data", "DATA"),
        ]
        for command, line in steps:
            code, text = self._client.docmd(line)
            if code not in (250, 354):
                return SmtpReply(command=command, code=code, text=text)
        self._steps = []
        self._client.send(content.replace(b"\n.", b"\n..") + b".\r\n")
        code, text = self._client.getreply()
        return SmtpReply(command="content", code=code, text=text)


def submit(port: int, content: bytes, *, recipients: Sequence[str], sender: str = "sender@example.com") -> SmtpReply:
    """One message over a connection of its own."""
    with SmtpSession(port) as session:
        return session.send(content, recipients=recipients, sender=sender)
