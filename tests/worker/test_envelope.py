# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, and the facts of an envelope that a filter cannot change."""

from __future__ import annotations

import dataclasses

import pytest

from defang_common.wire import commands, requests
from defang_worker.api.envelope import Address, Connection, Envelope
from defang_worker.api.headers import QueuedHeaders
from defang_worker.api.journal import Journal
from defang_worker.api.state import States


@pytest.mark.parametrize(
    ("given", "bare", "local_part", "domain"),
    [
        ("<alice@Example.COM>", "alice@Example.COM", "alice", "example.com"),
        ("alice@example.com", "alice@example.com", "alice", "example.com"),
        (" < alice@example.com > ", "alice@example.com", "alice", "example.com"),
        ('<"a@b"@example.com>', '"a@b"@example.com', '"a@b"', "example.com"),
        ("<>", "", "", ""),
        ("<postmaster>", "postmaster", "postmaster", ""),
        ("", "", "", ""),
    ],
)
def test_address_has_its_parts(given: str, bare: str, local_part: str, domain: str) -> None:
    address = Address(given)
    assert address == given
    assert (address.bare, address.local_part, address.domain) == (bare, local_part, domain)
    assert address.bracketed == f"<{bare}>"


def envelope(data: bytes) -> Envelope:
    journal = Journal()
    return Envelope.of_commands(
        commands.decode(data, need_end=False), "/nowhere", journal, QueuedHeaders(journal), states=States()
    )


def test_nothing_known_is_empty_and_no_error() -> None:
    known = envelope(b"F\n")
    assert (known.client_ip, known.client_name, known.helo, known.sender) == ("", "", "", "")
    assert known.queue_id is None
    assert (known.recipients, known.sender_args, dict(known.macros)) == ((), (), {})
    assert not known.was_relayed


def test_unresolved_client_has_its_address_for_a_name() -> None:
    assert envelope(b"I192.0.2.7\nF\n").client_name == "[192.0.2.7]"


def test_validated_address_stands_before_the_connecting_one() -> None:
    known = envelope(b"I192.0.2.7\nHmx.example.com\nJ10.0.0.9\nF\n")
    assert (known.client_ip, known.client_name) == ("10.0.0.9", "[10.0.0.9]")
    assert (known.connecting_ip, known.connecting_name) == ("192.0.2.7", "mx.example.com")
    assert known.was_relayed


def test_bytes_that_are_no_utf_8_survive_a_filter() -> None:
    known = envelope(b"S<caf%E9@example.com>\nF\n")
    known.set_sender(known.sender)
    [change] = known.journal.results([])
    assert change.address == b"<caf\xe9@example.com>"  # type: ignore[union-attr]


def test_facts_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        envelope(b"F\n").sender = Address("<other@example.com>")  # type: ignore[misc]


def test_unknown_words_of_a_request_are_empty() -> None:
    request = requests.RelayOk(
        ip=b"UNKNOWN", name=b"UNKNOWN", client_port=b"0", my_ip=b"UNKNOWN", my_port=b"x", queue_id=b"NOQUEUE"
    )
    known = Connection.of_request(request)
    assert (known.ip, known.hostname, known.my_ip, known.my_port, known.queue_id) == ("", "", "", 0, None)
    assert known.helo is None
