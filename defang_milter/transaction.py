# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a connection and of the message on it, and what of that is due in COMMANDS.

Pure: `callbacks` gathers the facts, `workdir` writes the lines, `mux_client` sends the requests.
An unknown value is empty here; what stands in for it on the wire is the codec's affair.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from defang_common.wire.body import Body
from defang_common.wire.commands import Letter, encode_line
from defang_common.wire.header import Header
from defang_common.wire.requests import HeloOk, RecipOk, RelayOk, Scan, SenderOk

LOOPBACK: Final = b"127.0.0.1"

# In a log line the first ones tell which message it is; a mailing list's thousands would not fit.
MAX_NAMED_RECIPIENTS: Final = 3

SocketAddress = tuple[str, int] | tuple[str, int, int, int] | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where the SMTP connection comes from. `is_local` is for the reserve of free workers alone."""

    ip: bytes
    port: bytes
    is_local: bool


def client_of(address: SocketAddress, loopback_alias: bytes | None) -> Client:
    """The client for what libmilter tells of its address; `loopback_alias` counts as 127.0.0.1.

    Neither the alias nor a unix socket is local for the reserve (protocol.md, Free workers).
    """
    match address:
        case None:
            return Client(ip=b"", port=b"0", is_local=True)
        case str():
            return Client(ip=LOOPBACK, port=b"0", is_local=False)
        case _:
            text = address[0]
            is_local = text in {"127.0.0.1", "::1"}
            # An IPv4 address in IPv6 dress, mapped (::ffff:192.0.2.7) or compatible (::192.0.2.7).
            if text.startswith("::") and "." in text:
                text = text.rpartition(":")[2]
            ip = text.encode()
            return Client(ip=LOOPBACK if ip == loopback_alias else ip, port=b"%d" % address[1], is_local=is_local)


def has_room(free_workers: int, *, reserve: int, is_local: bool) -> bool:
    """Whether a new connection may come in; below 0 the reserve is none, and local clients have no privilege."""
    if reserve < 0:
        return free_workers > 0
    return free_workers >= 0 and (is_local or free_workers > reserve)


@dataclass(slots=True, kw_only=True)
class Connection:
    """One SMTP connection, as far as the MTA told."""

    hostname: bytes
    client: Client
    my_ip: bytes
    my_port: bytes
    helo: bytes | None = None

    @property
    def name(self) -> bytes:
        """The client's host name, else its address."""
        return self.hostname or self.client.ip

    def relay_request(self, queue_id: bytes) -> RelayOk:
        """The question whether this client may connect."""
        return RelayOk(
            ip=self.client.ip,
            name=self.name,
            client_port=self.client.port,
            my_ip=self.my_ip,
            my_port=self.my_port,
            queue_id=queue_id,
        )

    def helo_request(self, queue_id: bytes) -> HeloOk:
        """The question whether this client may say that HELO."""
        return HeloOk(
            ip=self.client.ip,
            name=self.name,
            helo=self.helo or b"",
            client_port=self.client.port,
            my_ip=self.my_ip,
            my_port=self.my_port,
            queue_id=queue_id,
        )


class Transaction:
    """One message: its envelope, its header and body as they arrive, and the COMMANDS lines not yet written.

    `fault` is the cause why it cannot be accepted any more, from a callback that gives no answer. `first_recipient`
    is the first one named, `first_recipients` are the first that were accepted, `recipient_count` counts those.
    """

    __slots__ = (
        "_due",
        "body",
        "connection",
        "directory",
        "fault",
        "first_recipient",
        "first_recipients",
        "header",
        "header_is_written",
        "id",
        "queue_id",
        "recipient_count",
        "sender",
        "sender_args",
    )

    def __init__(  # keyword-only facts of MAIL
        self,
        *,
        connection: Connection,
        transaction_id: bytes,
        queue_id: bytes,
        directory: bytes,
        sender: bytes,
        sender_args: tuple[bytes, ...],
        header: Header,
        body: Body,
    ) -> None:
        self.connection = connection
        self.id = transaction_id
        self.queue_id = queue_id
        self.directory = directory
        self.sender = sender
        self.sender_args = sender_args
        self.header = header
        self.body = body
        self.first_recipient = b""
        self.first_recipients: list[bytes] = []
        self.recipient_count = 0
        self.header_is_written = False
        self.fault: str | None = None
        self._due: list[bytes] = []

    @property
    def log_name(self) -> str:
        """What the log calls this message."""
        return (self.queue_id or self.id).decode("ascii", "backslashreplace")

    def begin(self, macros: Iterable[tuple[bytes, bytes]], extra_macros: Iterable[tuple[bytes, bytes]]) -> None:
        """Makes due what COMMANDS says from MAIL on (protocol.md, COMMANDS, for the order)."""
        connection = self.connection
        due = [encode_line(Letter.TRANSACTION_ID, self.id), encode_line(Letter.SENDER, self.sender)]
        due += [encode_line(Letter.SENDER_ARG, arg) for arg in self.sender_args]
        due += [encode_line(Letter.MACRO, name, value) for name, value in macros]
        due.append(encode_line(Letter.MACRO, b"client_port", connection.client.port))
        due += [encode_line(Letter.MACRO, name, value) for name, value in extra_macros]
        if self.queue_id:
            due.append(encode_line(Letter.QUEUE_ID, self.queue_id))
        due.append(encode_line(Letter.HOSTNAME, connection.hostname))
        due.append(encode_line(Letter.IP, connection.client.ip))
        if connection.helo is not None:
            due.append(encode_line(Letter.HELO, connection.helo))
        self._due = due

    def note_queue_id(self, queue_id: bytes) -> None:
        """Takes the queue ID that the MTA tells now; empty if it tells none."""
        if queue_id and queue_id != self.queue_id:
            self.queue_id = queue_id
            self._due.append(encode_line(Letter.QUEUE_ID, queue_id))

    def accept_recipient(self, routed: tuple[bytes, bytes, bytes], recipient: bytes, args: Iterable[bytes]) -> None:
        """Makes a recipient due that may stay; `routed` is mailer, host and address of the MTA's routing."""
        self.recipient_count += 1
        if self.recipient_count <= MAX_NAMED_RECIPIENTS:
            self.first_recipients.append(recipient)
        self._due.append(encode_line(Letter.RECIPIENT, recipient, *routed))
        self._due += [encode_line(Letter.RECIPIENT_ARG, arg) for arg in args]

    def finish(self) -> None:
        """Makes due what COMMANDS says of header and body, and its end."""
        self._due += self.header.commands
        if self.body.suspicious:
            self._due.append(encode_line(Letter.SUSPICIOUS_BODY))
        self._due.append(encode_line(Letter.FINISHED))

    def take_commands(self) -> bytes:
        """The lines that are due; they count as written."""
        lines = b"".join(self._due)
        self._due.clear()
        return lines

    def sender_request(self) -> SenderOk:
        """The question whether mail may come from this sender."""
        return SenderOk(
            sender=self.sender,
            ip=self.connection.client.ip,
            name=self.connection.name,
            helo=self.connection.helo or b"",
            directory=self.directory,
            queue_id=self.queue_id,
            esmtp_args=self.sender_args,
        )

    def recipient_request(
        self, routed: tuple[bytes, bytes, bytes], recipient: bytes, args: tuple[bytes, ...]
    ) -> RecipOk:
        """The question whether mail may go to this recipient."""
        mailer, host, address = routed
        return RecipOk(
            recipient=recipient,
            sender=self.sender,
            ip=self.connection.client.ip,
            name=self.connection.name,
            first_recipient=self.first_recipient,
            helo=self.connection.helo or b"",
            directory=self.directory,
            queue_id=self.queue_id,
            mailer=mailer,
            host=host,
            address=address,
            esmtp_args=args,
        )

    def scan_request(self) -> Scan:
        """The order to filter the message."""
        return Scan(queue_id=self.queue_id, directory=self.directory)
