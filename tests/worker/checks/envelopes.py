# SPDX-License-Identifier: GPL-3.0-or-later
"""Envelopes at RCPT, for checks of them."""

from __future__ import annotations

from defang_common.wire import commands, percent
from defang_worker.api.envelope import Address, CommandsFile, Envelope, Recipient
from defang_worker.api.headers import QueuedHeaders
from defang_worker.api.journal import Journal
from defang_worker.api.state import States

OWN_NAME = "mx.example.org"


def envelope(
    recipient: str = "<bob@example.org>",
    *,
    sender: str = "<alice@example.com>",
    ip: str = "192.0.2.7",
    args: str = "",
    host: str = "",
    tested: bool = True,
    **macros: str,
) -> Envelope:
    """An envelope whose recipient is being asked about; `host` is where the mail server would send it."""
    journal = Journal()
    told = "".join(f"={name} {value}\n" for name, value in ({"j": OWN_NAME} | macros).items())
    told += f"s{percent.encode(args.encode()).decode()}\n" if args else ""
    read = commands.decode(
        f"S{sender}\n{told}QQ1\nHx\nI{ip}\nEhelo.example.com\nF\n".encode("utf-8", "surrogateescape")
    )
    return Envelope(
        client_ip=ip,
        client_name="x",
        connecting_ip=ip,
        connecting_name="x",
        helo="helo.example.com",
        sender=Address(sender),
        queue_id="Q1",
        directory="/nowhere",
        headers=QueuedHeaders(journal),
        journal=journal,
        commands=CommandsFile("/nowhere", read),
        tested=Recipient(address=Address(recipient), host=host) if tested else None,
        states=States(),
    )
