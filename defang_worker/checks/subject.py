# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check may be asked about, whatever the callback: the client, the HELO, the sender of a connection, an envelope
or a message.

A message's facts are those of its envelope. Of a connection no sender is known yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from defang_worker.api.envelope import Address, Connection, Envelope
    from defang_worker.api.message import Message

    Subject: TypeAlias = Connection | Envelope | Message

__all__ = ["client_ip", "helo", "recipient_domains", "sender", "sender_domain"]


def client_ip(subject: Subject) -> str:
    """The client's address; empty if it has none."""
    facts = _facts(subject)
    return str(facts.client_ip if hasattr(facts, "client_ip") else facts.ip)


def helo(subject: Subject) -> str:
    """What the client said at HELO; empty before that."""
    return _facts(subject).helo or ""


def sender(subject: Subject) -> str:
    """The envelope sender without brackets; empty for the null sender, and at connect and HELO."""
    address: Address | None = getattr(_facts(subject), "sender", None)
    return "" if address is None else address.bare


def sender_domain(subject: Subject) -> str:
    """The envelope sender's domain; empty if there is none."""
    address: Address | None = getattr(_facts(subject), "sender", None)
    return "" if address is None else address.domain


def recipient_domains(subject: Subject) -> tuple[str, ...]:
    """The domains of a message's recipients, each once, in small letters; at RCPT that of the recipient which is asked
    about; none before that, and for recipients without a domain."""
    recipients = getattr(_facts(subject), "recipients", ())
    wanted = recipients if hasattr(subject, "envelope") else recipients[-1:]
    return tuple(dict.fromkeys(one.address.domain for one in wanted if one.address.domain))


def _facts(subject: Subject) -> Any:
    return getattr(subject, "envelope", subject)
