# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit of recipient checks for one domain, so that a slow one cannot take all workers (protocol.md, Multiplexor).

Called by `policy`, and only where the limit is set.
"""

from collections.abc import Iterable

from defang_mux.pool.state import Kind, Ticket


def domain_of(line: bytes) -> bytes:
    """The recipient's domain in a `recipok` line, in small letters; nothing if there is none."""
    recipient = line.split(b" ", 2)[1]
    _, at, domain = recipient.rpartition(b"@")
    return domain.partition(b">")[0].lower() if at else b""


def is_one_too_many(ticket: Ticket, others: Iterable[Ticket], limit: int) -> bool:
    """Whether `limit` checks of that domain run or wait among the `others`; notes the domain in the ticket."""
    if ticket.kind is not Kind.RECIPOK:
        return False
    ticket.domain = domain_of(ticket.line)
    return bool(ticket.domain) and sum(other.domain == ticket.domain for other in others) >= limit
