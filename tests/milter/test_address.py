# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses in libmilter's notation, and why one cannot be opened."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from defang_milter import address
from defang_milter.address import InetAddress, NoAddress, UnixAddress


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/run/m.sock", UnixAddress(Path("/run/m.sock"))),
        ("unix:/run/m.sock", UnixAddress(Path("/run/m.sock"))),
        ("local:m.sock", UnixAddress(Path("m.sock"))),
        ("inet:1234@127.0.0.1", InetAddress("inet", "1234", "127.0.0.1")),
        ("inet:65535", InetAddress("inet", "65535", "")),
        ("inet:smtp@localhost", InetAddress("inet", "smtp", "localhost")),
        ("inet6:1234@[::1]", InetAddress("inet6", "1234", "::1")),
    ],
)
def test_addresses_are_read_as_libmilter_reads_them(text: str, expected: object) -> None:
    assert address.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("inet:99999@127.0.0.1", "port out of range: 99999"),
        ("inet:65536", "port out of range: 65536"),
        ("inet6:0@::1", "port out of range: 0"),
        ("inet:-1@127.0.0.1", "port out of range: -1"),
        ("inet:", "a port is missing"),
        ("inet:@127.0.0.1", "a port is missing"),
        ("unix:", "a path is missing"),
        ("", "a path is missing"),
        ("tcp:25", "'tcp' is no kind of socket"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(NoAddress, match=reason):
        address.parse(text)


def test_a_place_where_one_can_listen_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    assert UnixAddress(path).why_not() is None
    assert not path.exists()


def test_a_file_in_the_way_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert UnixAddress(path).why_not() == "what lies there is no socket"
    assert path.exists()


def test_a_port_in_use_is_named_as_such() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert InetAddress("inet", port, "127.0.0.1").why_not() == "Address already in use"
    assert InetAddress("inet", port, "127.0.0.1").why_not() is None


def test_a_host_that_is_no_address_has_the_resolvers_reason() -> None:
    assert InetAddress("inet", "25", "256.256.256.256").why_not()
