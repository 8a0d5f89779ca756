# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists, mail hosts and reverse names, asked of a nameserver on the loopback."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.api.envelope import Connection
from defang_worker.checks import (
    DnsList,
    DomainList,
    EmailList,
    Listing,
    ListingResult,
    MxResult,
    Outcome,
    Resolver,
    ReverseName,
    ReverseNameResult,
    SenderMx,
    Zone,
)
from defang_worker.checks.dns.list_names import hashed, normalized, reversed_address
from tests.support.dns_server import DnsServer, Fault

V6 = "2001:db8::1"
V6_REVERSED = ".".join(reversed("20010db8" + "0" * 23 + "1"))
SHORT_S = 0.3


def message(ip: str = "192.0.2.7", sender: str = "<alice@example.com>") -> Message:
    envelope = f"S{sender}\nQQ1\nHclient.example.com\nI{ip}\nEhelo.example.com\nR<bob@example.org> ? ? ?\nF\n"
    return Message(commands.decode(envelope.encode()), b"Subject: x\n\nx\n", "/nowhere", Settings())


def connection(ip: str) -> Connection:
    return Connection(ip=ip, hostname="[x]", client_port=1, my_ip="", my_port=25, queue_id=None)


def run(check: Any, ip: str = "192.0.2.7", sender: str = "<alice@example.com>") -> Any:
    return message(ip, sender).run_checks(check)[check]


def listed(records: str, check_type: Any = DnsList, zones: Any = "bl.example", **more: Any) -> ListingResult:
    sender, ip = more.pop("sender", "<alice@example.com>"), more.pop("ip", "192.0.2.7")
    with DnsServer(records) as server:
        result = run(check_type(zones, resolver=Resolver(server.address), **more), ip, sender)
        assert isinstance(result, ListingResult)
        return result


def mx(records: str, **faults: Fault) -> MxResult:
    with DnsServer(records) as server:
        server.faults.update({name.replace("_", "."): fault for name, fault in faults.items()})
        result = run(SenderMx(resolver=Resolver(server.address)))
        assert isinstance(result, MxResult)
        return result


def reverse(records: str, ip: str = "192.0.2.7", **faults: Fault) -> ReverseNameResult:
    with DnsServer(records) as server:
        server.faults.update({name.replace("_", "."): fault for name, fault in faults.items()})
        result = run(ReverseName(resolver=Resolver(server.address)), ip)
        assert isinstance(result, ReverseNameResult)
        return result


# lists


@pytest.mark.parametrize(
    ("ip", "name"),
    [("192.0.2.7", "7.2.0.192"), (V6, V6_REVERSED), ("::ffff:192.0.2.7", "7.2.0.192")],
)
def test_client_is_found_by_its_address_reversed(ip: str, name: str) -> None:
    result = listed(f"{name}.bl.example A 127.0.0.2", ip=ip)
    assert result.outcome is Outcome.FOUND
    assert result.listings == (Listing(value=ip, zone="bl.example", codes=("127.0.0.2",)),)
    assert result.zones == ("bl.example",)
    assert "127.0.0.2" in result.detail


def test_client_that_is_on_no_list_is_not_found() -> None:
    result = listed("1.2.0.192.bl.example A 127.0.0.2")
    assert (result.outcome, result.listings, result.could_not_tell) == (Outcome.NOT_FOUND, (), ())


@pytest.mark.parametrize("ip", ["", "unknown", "127.0.0.1.bl.example"])
def test_client_without_address_is_on_no_list(ip: str) -> None:
    assert listed("", ip=ip).outcome is Outcome.NOT_APPLICABLE


def test_lists_are_asked_at_connect() -> None:
    with DnsServer("7.2.0.192.bl.example A 127.0.0.2") as server:
        check = DnsList("bl.example", resolver=Resolver(server.address))
        assert connection("192.0.2.7").run_checks(check)[check].is_found
        assert not connection("192.0.2.8").run_checks(check)[check].is_found


@pytest.mark.parametrize("code", ["127.255.255.252", "127.255.255.254", "203.0.113.1"])
def test_error_code_is_no_listing(code: str) -> None:
    result = listed(f"7.2.0.192.bl.example A {code}")
    assert result.outcome is Outcome.UNKNOWN
    assert result.could_not_tell == ("bl.example",)
    assert code in result.detail


def test_only_the_codes_that_are_wanted_count() -> None:
    records = "7.2.0.192.bl.example A 127.0.0.4\n7.2.0.192.bl.example A 127.0.0.10"
    assert listed(records, zones=Zone("bl.example", codes=("127.0.0.10",))).listings[0].codes == ("127.0.0.10",)
    assert listed(records, zones=Zone("bl.example", codes=("127.0.0.4/30",))).listings[0].codes == ("127.0.0.4",)
    assert listed(records, zones=Zone("bl.example", codes=("127.0.0.2",))).outcome is Outcome.NOT_FOUND


def test_mask_picks_the_bits_that_count() -> None:
    records = "example.com.bl.example A 127.0.0.12"
    assert listed(records, DomainList, Zone("bl.example", mask=4)).is_found
    assert listed(records, DomainList, Zone("bl.example", mask=2)).outcome is Outcome.NOT_FOUND


def test_eight_lists_cost_one_round_trip() -> None:
    zones = [f"bl{number}.example" for number in range(8)]
    with DnsServer("7.2.0.192.bl5.example A 127.0.0.2") as server:
        server.hold = 8
        result = run(DnsList(zones, resolver=Resolver(server.address)))
        assert sorted(server.names_asked()) == [f"7.2.0.192.{zone}" for zone in zones]
    assert (result.zones, result.could_not_tell) == (("bl5.example",), ())


def test_enough_listings_end_the_wait() -> None:
    with DnsServer("7.2.0.192.a.example A 127.0.0.2\n7.2.0.192.b.example A 127.0.0.2") as server:
        server.faults["7.2.0.192.slow.example"] = Fault.SILENT
        zones = ["slow.example", "a.example", "b.example"]
        result = run(DnsList(zones, resolver=Resolver(server.address), stop_after=2, timeout_s=60))
    assert (result.zones, result.could_not_tell) == (("a.example", "b.example"), ())


def test_listing_counts_where_another_list_could_not_tell() -> None:
    with DnsServer("7.2.0.192.a.example A 127.0.0.2") as server:
        server.faults["7.2.0.192.b.example"] = Fault.SERVFAIL
        result = run(DnsList(["a.example", "b.example"], resolver=Resolver(server.address)))
        assert (result.outcome, result.could_not_tell) == (Outcome.FOUND, ("b.example",))
        only_bad = run(DnsList(["b.example", "c.example"], resolver=Resolver(server.address)))
        assert only_bad.outcome is Outcome.UNKNOWN
        assert "SERVFAIL" in only_bad.detail


def test_silent_list_could_not_tell_and_the_next_message_is_unaffected() -> None:
    with DnsServer("8.2.0.192.bl.example A 127.0.0.2") as server:
        server.faults["7.2.0.192.bl.example"] = Fault.LATE
        check = DnsList("bl.example", resolver=Resolver(server.address), timeout_s=SHORT_S)
        subject = message()
        assert subject.run_checks(check)[check].is_unknown
        assert subject.is_rejected
        server.release()
        assert run(DnsList("bl.example", resolver=check.resolver), "192.0.2.8").is_found


def test_domain_of_the_sender_is_looked_up() -> None:
    assert listed("example.com.bl.example A 127.0.1.2", DomainList, sender="<x@Example.COM>").is_found
    for sender in ("<>", "<postmaster>", "<x@[192.0.2.1]>", "<x@[IPv6:2001:db8::1]>"):
        assert listed("", DomainList, sender=sender).outcome is Outcome.NOT_APPLICABLE


def test_other_values_may_be_looked_up() -> None:
    result = listed(
        "b.example.bl.example A 127.0.0.2", DomainList, about=lambda subject: ["a.example", "b.example", "b.example"]
    )
    assert [one.value for one in result.listings] == ["b.example"]


def test_stranger_cannot_have_this_host_ask_for_thousands_of_names() -> None:
    result = listed("", DomainList, about=lambda subject: [f"{number}.example" for number in range(300)])
    assert result.outcome is Outcome.UNKNOWN
    assert "300" in result.detail


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_mail_address_is_looked_up_by_its_hash(algorithm: str) -> None:
    digest = hashlib.new(algorithm, b"alice@example.com").digest()
    label = base64.b32encode(digest).decode().rstrip("=") if algorithm == "sha256" else digest.hex()
    records = f"{label}.bl.example A 127.0.0.2"
    assert listed(records, EmailList, sender="<Alice+news@Example.com>", algorithm=algorithm).is_found
    assert not listed(records, EmailList, sender="<Alice@example.com>", algorithm=algorithm, normalize=False).is_found
    assert listed(records, EmailList, sender="<>", algorithm=algorithm).outcome is Outcome.NOT_APPLICABLE


def test_hashes_are_written_as_lists_want_them() -> None:
    assert hashed("a@example.com", "sha256", "base32") == "balizwan7vjuvmhrblyq6eyd7yak6lkdvnobimrwbujx7amx4f5a"
    assert "=" not in hashed("a@example.com", "sha1", "base32")


@pytest.mark.parametrize(
    ("address", "usual"),
    [
        ("<Bob@Example.COM>", "bob@example.com"),
        ("bob+list@example.com", "bob@example.com"),
        ("b.o.b+x@googlemail.com", "bob@gmail.com"),
        ("b.o.b@example.com", "b.o.b@example.com"),
        ("+bob@example.com", "+bob@example.com"),
    ],
)
def test_spellings_of_a_mailbox_are_one(address: str, usual: str) -> None:
    assert normalized(address) == usual


def test_what_is_no_address_has_no_reversed_name() -> None:
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        reversed_address("bl.example")


def test_results_stand_in_the_record() -> None:
    told = json.loads(json.dumps(listed("7.2.0.192.bl.example A 127.0.0.2").as_record()))
    assert told["outcome"] == "found"
    assert told["listings"] == [{"value": "192.0.2.7", "zone": "bl.example", "codes": ["127.0.0.2"]}]
    hosts = json.loads(json.dumps(mx("example.com A 127.0.0.1").as_record()))["hosts"]
    assert hosts == [{"name": "example.com", "addresses": ["127.0.0.1"]}]
    assert json.loads(json.dumps(reverse("7.2.0.192.in-addr.arpa PTR a.example").as_record()))["names"] == ["a.example"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: DnsList([]),
        lambda: DnsList("bl.example", stop_after=-1),
        lambda: Zone(""),
        lambda: Zone("bl.example", mask=256),
        lambda: Zone("bl.example", codes=("192.0.2.1",)),
        lambda: Zone("bl.example", codes=("x",)),
        lambda: EmailList("bl.example", algorithm="sha256", encoding="hex"),
        lambda: EmailList("bl.example", algorithm="crc32"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_refused_when_the_filter_is_loaded(make: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        make()


# mail hosts


def test_domain_whose_mail_can_be_answered_is_not_found() -> None:
    result = mx(
        "example.com MX 20 b.example.com\nexample.com MX 10 A.example.com\n"
        "a.example.com A 8.8.8.8\na.example.com AAAA 2a00:1450::1\nb.example.com A 9.9.9.9"
    )
    assert result.outcome is Outcome.NOT_FOUND
    assert [(host.name, host.preference, host.addresses) for host in result.hosts] == [
        ("a.example.com", 10, ("8.8.8.8", "2a00:1450::1")),
        ("b.example.com", 20, ("9.9.9.9",)),
    ]


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "0.0.0.0", "224.0.0.1", "169.254.1.1", "100.64.0.1"])
def test_address_that_is_nobodys_is_bogus(address: str) -> None:
    result = mx(f"example.com MX 10 a.example.com\na.example.com A {address}\na.example.com A 8.8.8.8")
    assert (result.outcome, result.bogus) == (Outcome.FOUND, (address,))


@pytest.mark.parametrize(
    "address", ["::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::10.0.0.1", "64:ff9b::10.0.0.1"]
)
def test_bogus_addresses_of_ipv6_are_found_too(address: str) -> None:
    result = mx(f"example.com MX 10 a.example.com\na.example.com AAAA {address}")
    assert result.is_found
    assert len(result.bogus) == 1


def test_address_in_place_of_a_host_is_bogus_if_it_is_nobodys() -> None:
    assert mx("example.com MX 10 127.0.0.1").bogus == ("127.0.0.1",)


def test_domain_without_mx_is_its_own_mail_host() -> None:
    result = mx("example.com A 8.8.8.8")
    assert (result.outcome, result.hosts[0].name) == (Outcome.NOT_FOUND, "example.com")


def test_domain_that_takes_no_mail_is_found() -> None:
    null = mx("example.com MX 0 .")
    assert (null.outcome, null.is_null) == (Outcome.FOUND, True)
    assert mx("example.com TXT x").is_found
    assert mx("").is_found
    assert mx("example.com MX 10 a.example.com").is_found


def test_mail_hosts_that_cannot_be_told_are_unknown() -> None:
    assert mx("", example_com=Fault.SERVFAIL).is_unknown
    records = "example.com MX 10 a.example.com\nexample.com MX 20 b.example.com\nb.example.com A 8.8.8.8"
    assert mx("example.com MX 10 a.example.com", a_example_com=Fault.SERVFAIL).is_unknown
    partly = mx(records, a_example_com=Fault.SERVFAIL)
    assert partly.outcome is Outcome.NOT_FOUND
    assert [host.is_unknown for host in partly.hosts] == [True, False]


@pytest.mark.parametrize("sender", ["<>", "<postmaster>", "<x@[192.0.2.1]>"])
def test_sender_without_domain_has_no_mail_hosts(sender: str) -> None:
    with DnsServer() as server:
        assert run(SenderMx(resolver=Resolver(server.address)), sender=sender).outcome is Outcome.NOT_APPLICABLE
        assert server.asked == []


def test_no_more_than_ten_mail_hosts_are_looked_up() -> None:
    records = "\n".join(f"example.com MX {number} h{number}.example.com" for number in range(50))
    with DnsServer(records) as server:
        run(SenderMx(resolver=Resolver(server.address)))
        assert len([name for name in server.names_asked() if name != "example.com"]) == 20


# reverse names


@pytest.mark.parametrize(
    ("ip", "pointer", "rdtype"),
    [("192.0.2.7", "7.2.0.192.in-addr.arpa", "A"), (V6, f"{V6_REVERSED}.ip6.arpa", "AAAA")],
)
def test_name_that_leads_back_is_confirmed(ip: str, pointer: str, rdtype: str) -> None:
    records = f"{pointer} PTR Mail.example.com\n{pointer} PTR other.example.com\nmail.example.com {rdtype} {ip}"
    result = reverse(records, ip)
    assert result.outcome is Outcome.NOT_FOUND
    assert result.names == ("mail.example.com", "other.example.com")
    assert result.confirmed == ("mail.example.com",)


def test_name_that_leads_elsewhere_is_none() -> None:
    result = reverse("7.2.0.192.in-addr.arpa PTR www.example.com\nwww.example.com A 8.8.8.8")
    assert (result.outcome, result.names, result.confirmed) == (Outcome.FOUND, ("www.example.com",), ())
    assert reverse("").detail == "no name"


def test_reverse_name_that_cannot_be_told_is_unknown() -> None:
    pointer = "7.2.0.192.in-addr.arpa"
    with DnsServer() as server:
        server.faults[pointer] = Fault.SERVFAIL
        assert run(ReverseName(resolver=Resolver(server.address))).is_unknown
    assert reverse(f"{pointer} PTR a.example", a_example=Fault.SERVFAIL).is_unknown


def test_client_without_address_has_no_reverse_name() -> None:
    assert reverse("", ip="").outcome is Outcome.NOT_APPLICABLE


def test_features_show_the_nameservers_and_whether_they_answer() -> None:
    from defang_worker.checks.budget import Deadline

    with DnsServer() as server:
        check = DnsList("bl.example", resolver=Resolver(server.address))
        (feature,) = check.features(Deadline.after(30))
        assert (feature.kind, feature.address, feature.is_reachable) == ("DnsList", "127.0.0.1", True)
    (feature,) = check.features(Deadline.after(30))
    assert feature.is_reachable is False


def test_checks_with_the_same_nameservers_share_what_is_known() -> None:
    one, same = DnsList("a.example", resolver="192.0.2.53"), ReverseName(resolver=["192.0.2.53"])
    assert one.resolver is same.resolver
    assert DnsList("a.example", resolver="192.0.2.54").resolver is not one.resolver
    assert DnsList("a.example").resolver is SenderMx().resolver


def test_list_may_be_declared_in_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(
        '[checks.blocklist]\nkind = "DnsList"\nzones = ["bl.example", "bl.example.net"]\nstop_after = 1\n'
        'resolver = "127.0.0.1:5353"\non_failure = "ignore"\n'
    )
    (check,) = Settings.load(str(path)).checks
    assert isinstance(check, DnsList)
    assert ([zone.name for zone in check.zones], check.stop_after) == (["bl.example", "bl.example.net"], 1)
    assert check.resolver.nameservers == ("127.0.0.1",)


def test_names_and_addresses_of_strangers_are_bounded() -> None:
    names = "\n".join(f"7.2.0.192.in-addr.arpa PTR host{number:03}.example" for number in range(100))
    result = reverse(names)
    assert len(result.names) == 10
    assert len(result.detail) < 300
    addresses = "\n".join(f"mx.example A 127.0.1.{number}" for number in range(200))
    told = mx(f"example.com MX 1 mx.example\n{addresses}")
    assert told.is_found
    assert (len(told.hosts[0].addresses), len(told.bogus)) == (32, 32)
