# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom to call: places as filters name them, MX records, and this host itself."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from defang_worker.checks.callahead.loop import MAX_DEPTH, depth_of, is_this_host, mark, same_address
from defang_worker.checks.callahead.servers import Place, Server, found, place
from defang_worker.checks.dns.mail_hosts import MailHost, MailHosts
from defang_worker.checks.faults import CouldNotTell

HOSTS = MailHosts(
    hosts=(
        MailHost(name="mx1.example.org", preference=10, addresses=("192.0.2.1", "2001:db8::1")),
        MailHost(name="mx2.example.org", preference=10, addresses=("192.0.2.2",)),
        MailHost(name="mx3.example.org", preference=20, addresses=("192.0.2.3", "192.0.2.1")),
    ),
    has_mx=True,
)


def servers(*texts: str, hosts: MailHosts = HOSTS, ours: str = "") -> list[Server]:
    return found([place(text) for text in texts], lambda domain: hosts, lambda server: server.ip == ours)


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("mail.example.org", "mail.example.org", 25),
        ("mail.example.org:2525", "mail.example.org", 2525),
        ("mail.example.org.", "mail.example.org", 25),
        ("192.0.2.1", "192.0.2.1", 25),
        ("192.0.2.1:26", "192.0.2.1", 26),
        ("2001:db8::1", "2001:db8::1", 25),
        ("[2001:db8::1]", "2001:db8::1", 25),
        ("[2001:db8::1]:26", "2001:db8::1", 26),
        ("[mail.example.org]", "mail.example.org", 25),
        ("[192.0.2.1]:26", "192.0.2.1", 26),
    ],
)
def test_a_host_is_named_as_mail_servers_name_it(text: str, name: str, port: int) -> None:
    assert place(text) == Place(name=name, port=port)


@pytest.mark.parametrize(("text", "port"), [("mx:example.org", 25), ("mx:example.org:26", 26)])
def test_a_domain_is_named_by_mx(text: str, port: int) -> None:
    assert place(text) == Place(name="example.org", port=port, is_domain=True)
    assert place(str(place(text))) == place(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "mx:", ":25", "a:", "a:0", "a:65536", "a:smtp", "a:-1", "a:b:25", "[::1", "::1]", "[::1]25", "[::1]:"),
        *("a b", "a/b", "bob@example.org", "mx:192.0.2.1", "mx:[::1]", "a\nb", "[]", "g\u00fc.example", "a:\u0662"),
    ],
)
def test_what_names_no_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"server|port"):
        place(text)


def test_hosts_of_a_domain_come_in_the_order_of_its_records_each_address_once() -> None:
    told = servers("mx:example.org:26")
    assert [server.address for server in told] == ["192.0.2.1:26", "[2001:db8::1]:26", "192.0.2.2:26", "192.0.2.3:26"]
    assert {server.name for server in told} == {"mx1.example.org", "mx2.example.org", "mx3.example.org"}
    assert str(told[0]) == "mx1.example.org (192.0.2.1:26)"


def test_mail_hosts_no_better_than_this_one_are_left_out() -> None:
    assert [server.ip for server in servers("mx:example.org", ours="192.0.2.3")] == [
        *("192.0.2.1", "2001:db8::1", "192.0.2.2"),
    ]


@pytest.mark.parametrize("ours", ["192.0.2.1", "192.0.2.2"])
def test_domain_whose_best_mail_host_is_this_one_is_a_loop(ours: str) -> None:
    with pytest.raises(CouldNotTell, match=r"loop: the mail host of example.org is this one"):
        servers("mx:example.org", ours=ours)


@pytest.mark.parametrize(
    ("hosts", "reason"),
    [
        (MailHosts(), "has no mail host with an address"),
        (MailHosts(hosts=(MailHost(name="a.example"),), has_mx=True), "has no mail host with an address"),
        (MailHosts(is_null=True, has_mx=True), "takes no mail"),
    ],
)
def test_domain_without_mail_hosts_cannot_be_told(hosts: MailHosts, reason: str) -> None:
    with pytest.raises(CouldNotTell, match=f"example.org {reason}"):
        servers("mx:example.org", hosts=hosts)


def test_place_that_cannot_be_found_is_left_out_if_another_can(monkeypatch: pytest.MonkeyPatch) -> None:
    usual: Callable[..., object] = socket.getaddrinfo

    def lookup(name: str, *more: object, **options: object) -> object:
        if name.endswith(".example"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return usual(name, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert [server.ip for server in servers("gone.example", "127.0.0.1")] == ["127.0.0.1"]
    with pytest.raises(CouldNotTell, match=r"gone.example: Name or service not known"):
        servers("gone.example")


# loops


def test_this_host_is_known_by_its_addresses() -> None:
    assert all(map(is_this_host, ("127.0.0.1", "127.3.2.1", "::1", "0.0.0.0", "::ffff:127.0.0.1")))
    assert not any(map(is_this_host, ("192.0.2.1", "2001:db8::1", "255.255.255.255")))


def test_addresses_are_compared_as_addresses() -> None:
    assert same_address("::ffff:192.0.2.1", "192.0.2.1")
    assert same_address("2001:db8:0::1", "2001:DB8::1")
    assert not same_address("192.0.2.1", "192.0.2.2")
    assert not same_address("", "")


def test_mark_tells_how_deep_a_call_is() -> None:
    assert [depth_of(["SIZE=1", mark(depth)]) for depth in (1, MAX_DEPTH)] == [1, MAX_DEPTH]
    assert depth_of([mark(2).lower()]) == 2
    assert depth_of(["ENVID=QQ314159", "BODY=8BITMIME"]) == depth_of([]) == 0
    assert len(mark(MAX_DEPTH).partition("=")[2]) <= 100  # RFC 3461, section 4.4
