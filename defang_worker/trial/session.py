# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mail server would tell of connection and envelope, as the one who tries a filter wants it.

Pure: `Session` to the request lines and the lines of COMMANDS that a front end would write.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from defang_common.wire.commands import Letter, encode_line
from defang_common.wire.requests import HeloOk, RecipOk, RelayOk, SenderOk

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLIENT_PORT: Final = b"40000"
_MY_IP: Final = b"192.0.2.25"
_MY_PORT: Final = b"25"
_TRANSACTION_ID: Final = b"trial000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who sends to whom and from where. Addresses get angle brackets if they have none.

    Addresses and names of the defaults are those that are set aside for examples (RFC 5737, RFC 2606).
    """

    sender: str = "sender@example.com"
    sender_args: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ("recipient@example.org",)
    relay_ip: str = "192.0.2.1"
    relay_host: str = "client.example.com"
    helo: str = "client.example.com"
    queue_id: str = "TRIAL001"
    macros: Mapping[str, str] = field(default_factory=dict)
    """The mail server's macros as they are at MAIL, names without braces; usual ones are there without being named."""

    def relay_request(self) -> RelayOk:
        """The question whether this client may connect."""
        return RelayOk(
            ip=raw(self.relay_ip),
            name=raw(self.relay_host),
            client_port=_CLIENT_PORT,
            my_ip=_MY_IP,
            my_port=_MY_PORT,
            queue_id=b"",
        )

    def helo_request(self) -> HeloOk:
        """The question whether this client may say that HELO."""
        return HeloOk(
            ip=raw(self.relay_ip),
            name=raw(self.relay_host),
            helo=raw(self.helo),
            client_port=_CLIENT_PORT,
            my_ip=_MY_IP,
            my_port=_MY_PORT,
            queue_id=b"",
        )

    def sender_request(self, directory: bytes) -> SenderOk:
        """The question whether mail may come from this sender."""
        return SenderOk(
            sender=bracketed(self.sender),
            ip=raw(self.relay_ip),
            name=raw(self.relay_host),
            helo=raw(self.helo),
            directory=directory,
            queue_id=raw(self.queue_id),
            esmtp_args=tuple(map(raw, self.sender_args)),
        )

    def recipient_request(self, directory: bytes, recipient: bytes) -> RecipOk:
        """The question whether mail may go to this recipient."""
        return RecipOk(
            recipient=recipient,
            sender=bracketed(self.sender),
            ip=raw(self.relay_ip),
            name=raw(self.relay_host),
            first_recipient=bracketed(self.recipients[0]),
            helo=raw(self.helo),
            directory=directory,
            queue_id=raw(self.queue_id),
            mailer=b"?",
            host=b"?",
            address=b"?",
        )

    def commands(self) -> bytes:
        """The lines of COMMANDS from MAIL on (protocol.md, COMMANDS, for the order)."""
        macros = {
            "_": f"{self.relay_host} [{self.relay_ip}]",
            "daemon_name": "MTA",
            "i": self.queue_id,
            "j": "mx.example.org",
            "client_port": _CLIENT_PORT.decode(),
            **self.macros,
        }
        lines = [
            encode_line(Letter.TRANSACTION_ID, _TRANSACTION_ID),
            encode_line(Letter.SENDER, bracketed(self.sender)),
        ]
        lines += [encode_line(Letter.SENDER_ARG, raw(arg)) for arg in self.sender_args]
        lines += [encode_line(Letter.MACRO, raw(name), raw(value)) for name, value in macros.items()]
        lines += [
            encode_line(Letter.QUEUE_ID, raw(self.queue_id)),
            encode_line(Letter.HOSTNAME, raw(self.relay_host)),
            encode_line(Letter.IP, raw(self.relay_ip)),
            encode_line(Letter.HELO, raw(self.helo)),
        ]
        return b"".join(lines)


def raw(text: str) -> bytes:
    """The bytes of a word of the command line; bytes there that are no UTF-8 stay what they are."""
    return text.encode("utf-8", "surrogateescape")


def bracketed(address: str) -> bytes:
    """An envelope address with its angle brackets."""
    address = address.strip()
    return raw(address if address.startswith("<") else f"<{address}>")


def recipient_line(recipient: bytes) -> bytes:
    """The line of COMMANDS for a recipient that was accepted."""
    return encode_line(Letter.RECIPIENT, recipient, b"?", b"?", b"?")
