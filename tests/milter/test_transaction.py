# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of connection and message: addresses, room for new clients, COMMANDS lines, requests."""

from __future__ import annotations

import pytest

from defang_common.wire import commands, requests
from defang_common.wire.body import Body
from defang_common.wire.header import Header
from defang_milter.transaction import Client, Connection, SocketAddress, Transaction, client_of, has_room


@pytest.mark.parametrize(
    ("address", "ip", "port", "is_local"),
    [
        (("192.0.2.7", 45678), b"192.0.2.7", b"45678", False),
        (("127.0.0.1", 1), b"127.0.0.1", b"1", True),
        (("127.0.0.2", 1), b"127.0.0.2", b"1", False),
        (("2001:db8::7", 25, 0, 0), b"2001:db8::7", b"25", False),
        (("::1", 25, 0, 0), b"::1", b"25", True),
        (("::ffff:192.0.2.9", 25, 0, 0), b"192.0.2.9", b"25", False),
        (("::192.0.2.9", 25, 0, 0), b"192.0.2.9", b"25", False),
        (("::ffff:127.0.0.1", 25, 0, 0), b"127.0.0.1", b"25", False),
        (("198.51.100.1", 9), b"127.0.0.1", b"9", False),
        ("/run/x.sock", b"127.0.0.1", b"0", False),
        (None, b"", b"0", True),
    ],
)
def test_a_client_is_known_by_its_address(address: SocketAddress, ip: bytes, port: bytes, is_local: bool) -> None:
    assert client_of(address, b"198.51.100.1") == Client(ip=ip, port=port, is_local=is_local)


@pytest.mark.parametrize(
    ("free", "reserve", "local", "other"),
    [
        (1, -1, True, True),
        (0, -1, False, False),
        (0, -5, False, False),
        (0, 0, True, False),
        (1, 0, True, True),
        (3, 3, True, False),
        (4, 3, True, True),
        (-1, 3, False, False),
        (-1, -1, False, False),
    ],
)
def test_the_reserve_is_for_the_loopback(free: int, reserve: int, local: bool, other: bool) -> None:
    assert has_room(free, reserve=reserve, is_local=True) is local
    assert has_room(free, reserve=reserve, is_local=False) is other


def _connection(**changed: object) -> Connection:
    facts: dict[str, object] = {
        "hostname": b"client.example.com",
        "client": Client(ip=b"192.0.2.7", port=b"45678", is_local=False),
        "my_ip": b"192.0.2.1",
        "my_port": b"25",
        "helo": b"helo.example.com",
    }
    return Connection(**{**facts, **changed})  # type: ignore[arg-type]


def _transaction(connection: Connection | None = None, *, queue_id: bytes = b"Q123") -> Transaction:
    return Transaction(
        connection=connection or _connection(),
        transaction_id=b"ivLwa00",
        queue_id=queue_id,
        directory=b"/spool/mdefang-Q123",
        sender=b"<sender@example.com>",
        sender_args=(b"SIZE=100", b"BODY=8BITMIME"),
        header=Header(None),
        body=Body(strip_bare_cr=False),
    )


def test_requests_have_the_words_that_the_original_sends() -> None:
    connection = _connection()
    transaction = _transaction(connection)
    transaction.first_recipient = b"<r1@example.org>"
    routed = (b"local", b"", b"root")
    args = (b"NOTIFY=NEVER", b"ORCPT=rfc822;r1+20x@example.org")
    lines = [
        requests.encode(connection.relay_request(b"")),
        requests.encode(connection.helo_request(b"")),
        requests.encode(transaction.sender_request()),
        requests.encode(transaction.recipient_request(routed, b"<r1@example.org>", args)),
        requests.encode(transaction.scan_request()),
    ]
    assert lines == [
        b"relayok 192.0.2.7 client.example.com 45678 192.0.2.1 25 NOQUEUE\n",
        b"helook 192.0.2.7 client.example.com helo.example.com 45678 192.0.2.1 25 NOQUEUE\n",
        (
            b"senderok <sender@example.com> 192.0.2.7 client.example.com helo.example.com /spool/mdefang-Q123 Q123"
            b" SIZE=100 BODY=8BITMIME\n"
        ),
        (
            b"recipok <r1@example.org> <sender@example.com> 192.0.2.7 client.example.com <r1@example.org>"
            b" helo.example.com /spool/mdefang-Q123 Q123 local ? root NOTIFY=NEVER ORCPT=rfc822;r1+20x@example.org\n"
        ),
        b"scan Q123 /spool/mdefang-Q123\n",
    ]


def test_what_is_unknown_is_called_so_in_requests() -> None:
    connection = _connection(
        hostname=b"", client=Client(ip=b"", port=b"0", is_local=True), my_ip=b"", my_port=b"", helo=None
    )
    assert requests.encode(connection.helo_request(b"")) == b"helook UNKNOWN UNKNOWN UNKNOWN 0 UNKNOWN 0 NOQUEUE\n"


def test_a_client_without_a_name_is_called_by_its_address() -> None:
    assert _connection(hostname=b"").name == b"192.0.2.7"


def test_commands_has_the_lines_of_the_original_in_its_order() -> None:
    transaction = _transaction()
    transaction.begin([(b"_", b"client.example.com [192.0.2.7]"), (b"i", b"")], [(b"extra", b"AES\"x\\y%z'")])
    assert transaction.take_commands() == (
        b"iivLwa00\nS<sender@example.com>\nsSIZE=100\nsBODY=8BITMIME\n"
        b"=_ client.example.com%20[192.0.2.7]\n=i \n=client_port 45678\n=extra AES\"x\\y%25z'\n"
        b"QQ123\nHclient.example.com\nI192.0.2.7\nEhelo.example.com\n"
    )
    transaction.accept_recipient((b"local", b"", b"root"), b"<r1@example.org>", (b"NOTIFY=NEVER",))
    transaction.header.add(b"Subject", b"two words")
    transaction.body.feed(b"\0")
    transaction.finish()
    assert transaction.take_commands() == b"R<r1@example.org> local ? root\nrNOTIFY=NEVER\nUtwo%20words\n?\nF\n"
    assert transaction.take_commands() == b""


def test_a_client_that_said_no_helo_and_has_no_address_leaves_no_wrong_line() -> None:
    connection = _connection(helo=None, hostname=b"", client=Client(ip=b"", port=b"0", is_local=True))
    transaction = _transaction(connection, queue_id=b"")
    transaction.begin([], [])
    lines = transaction.take_commands().split(b"\n")
    assert b"I" in lines
    assert b"H" in lines
    assert not [line for line in lines if line[:1] in (b"E", b"Q")]


def test_an_empty_helo_is_still_one() -> None:
    transaction = _transaction(_connection(helo=b""))
    transaction.begin([], [])
    assert b"\nE\n" in transaction.take_commands()


def test_a_late_queue_id_is_told_once() -> None:
    transaction = _transaction(queue_id=b"")
    transaction.begin([], [])
    assert transaction.log_name == "ivLwa00"
    for queue_id in (b"", b"PF1", b"PF1", b""):
        transaction.note_queue_id(queue_id)
    transaction.finish()
    text = transaction.take_commands()
    assert text.count(b"\nQPF1\n") == 1
    assert commands.decode(text).queue_id == b"PF1"
    assert transaction.log_name == "PF1"
    assert transaction.scan_request().queue_id == b"PF1"
