# SPDX-License-Identifier: GPL-3.0-or-later
"""One SMTP transaction over a connection of its own, with the exact reply that ended it."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpReply:
    """The reply that decided, the command that got it (`connect`, `ehlo`, `mail`, `rcpt`, `data`, `content`)."""

    command: str
    code: int
    text: bytes


def submit(
    port: int,
    content: bytes,
    *,
    sender: str = "sender@example.com",
    recipients: Sequence[str],
    helo: str = "client.example.com",
) -> SmtpReply:
    """Send one message to 127.0.0.1; the first refusal, or the reply to the content. Recipients are all or nothing."""
    client = smtplib.SMTP(timeout=TIMEOUT_S)
    try:
        code, text = client.connect("127.0.0.1", port)
        if code != 220:
            return SmtpReply(command="connect", code=code, text=text)
        steps = [
            ("ehlo", f"EHLO {helo}"),
            ("mail", f"MAIL FROM:<{sender}> BODY=8BITMIME"),
            *(("rcpt", f"RCPT TO:<{recipient}>") for recipient in recipients),
            ("data", "DATA"),
        ]
        for command, line in steps:
            code, text = client.docmd(line)
            if code not in (250, 354):
                return SmtpReply(command=command, code=code, text=text)
        stuffed = content.replace(b"\n.", b"\n..")
        client.send((b"." if content.startswith(b".") else b"") + stuffed + b".\r\n")
        code, text = client.getreply()
        return SmtpReply(command="content", code=code, text=text)
    finally:
        with suppress(smtplib.SMTPServerDisconnected):
            client.quit()
        client.close()
