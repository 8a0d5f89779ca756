# SPDX-License-Identifier: GPL-3.0-or-later
"""MTA-STS, with a nameserver and an HTTPS server on the loopback, which has certificates by the test's authority."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from defang_worker import Settings
from defang_worker.checks import KeptPolicy, MtaSts, MtaStsResult, Outcome, Resolver, SqlitePolicies, StsMode
from defang_worker.checks.budget import Deadline
from defang_worker.checks.tls.policy_store import MemoryPolicies
from tests.support.authority import Certificate, authority
from tests.support.dns_server import DnsServer, Fault
from tests.support.scripted_service import ScriptedService
from tests.worker.checks.tls.test_dane import message

POLICY = b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 1000\n"
CUT = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + POLICY
SHORT_S = 1.0
LONG_S = 30.0
ROOT = authority()


class PolicyServer:
    """Serves `answer` by TLS, with a certificate for `name`, and remembers what it was asked."""

    def __init__(self, directory: Path, certificate: Certificate | None = None) -> None:
        self.directory = directory
        self.show(certificate or ROOT.issue("policy", "mta-sts.example.com", "mta-sts.example.net"))
        self.requests: list[bytes] = []
        self.answer = answered(POLICY)
        self.misbehave: Callable[[ssl.SSLSocket], None] | None = None

    def show(self, certificate: Certificate) -> None:
        self.context = certificate.server_context(self.directory)

    def __call__(self, connected: socket.socket) -> None:
        with self.context.wrap_socket(connected, server_side=True) as stream:
            request = b""
            while b"\r\n\r\n" not in request and (piece := stream.recv(65536)):
                request += piece
            self.requests.append(request)
            if self.misbehave is not None:
                self.misbehave(stream)
            else:
                stream.sendall(self.answer)


def answered(body: bytes, status: str = "200 OK", content_type: str = "text/plain; charset=utf-8") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Site:
    """A domain with a record and a policy, and a check that asks about it."""

    def __init__(self, directory: Path) -> None:
        self.policies = PolicyServer(directory)
        self.service = ScriptedService(self.policies)
        self.dns = DnsServer("mta-sts.example.com A 127.0.0.1\nmta-sts.example.net A 127.0.0.1")
        self.set_id("1")
        self.now = 1000.0
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(ROOT.pem)

    def set_id(self, number: str, domain: str = "example.com") -> None:
        self.dns.remove(f"_mta-sts.{domain}", "TXT")
        self.dns.add(f'_mta-sts.{domain} TXT "v=STSv1; id={number};"')

    def check(self, **more: Any) -> MtaSts:
        port = int(self.service.address.rpartition(":")[2])
        options = {"ca_file": str(self.ca_file), "port": port, "allow_private": True, "clock": lambda: self.now}
        # Nothing is remembered by the resolver, for the tests change what the nameserver says.
        resolver = Resolver(self.dns.address)
        resolver._cache._max_entries = 0
        return MtaSts(**{"resolver": resolver, "timeout_s": LONG_S, **options, **more})

    @property
    def fetches(self) -> int:
        return len(self.policies.requests)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    it = Site(tmp_path)
    with it.service, it.dns:
        yield it


def run(check: MtaSts, *recipients: str) -> MtaStsResult:
    return message(*(recipients or ("bob@example.com",))).run_checks(check)[check]


# A policy that is there


def test_policy_is_found_and_asked_for_as_the_rfc_has_it(site: Site) -> None:
    result = run(site.check())
    assert (result.outcome, result.detail, result.is_enforced) == (Outcome.FOUND, "example.com: mode enforce", True)
    (domain,) = result.domains
    assert domain.policy is not None
    assert domain.policy.allows("mx.example.com")
    (request,) = site.policies.requests
    assert request.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.com\r\n")


@pytest.mark.parametrize(
    ("mode", "outcome", "is_enforced"),
    [("enforce", Outcome.FOUND, True), ("testing", Outcome.FOUND, False), ("none", Outcome.NOT_FOUND, False)],
)
def test_mode_tells_what_the_policy_is_worth(site: Site, mode: str, outcome: Outcome, is_enforced: bool) -> None:
    site.policies.answer = answered(POLICY.replace(b"enforce", mode.encode()))
    result = run(site.check())
    assert (result.outcome, result.is_enforced, result.domains[0].mode) == (outcome, is_enforced, StsMode(mode))


def test_domain_without_a_record_is_asked_nothing_more(site: Site) -> None:
    site.dns.remove("_mta-sts.example.com", "TXT")
    result = run(site.check())
    assert (result.outcome, result.detail) == (Outcome.NOT_FOUND, "example.com: no record")
    site.dns.add('_mta-sts.example.com TXT "v=STSv1"')
    assert run(site.check()).detail == "example.com: a malformed record"
    assert site.fetches == 0


def test_every_domain_counts(site: Site) -> None:
    check = site.check()
    assert run(check, "a@example.com", "b@example.net").outcome is Outcome.NOT_FOUND
    site.set_id("1", "example.net")
    result = run(check, "a@example.com", "b@example.net")
    assert [(one.domain, one.mode) for one in result.domains] == [
        ("example.com", "enforce"),
        ("example.net", "enforce"),
    ]
    assert result.is_found


def test_policies_of_several_domains_are_fetched_at_the_same_time(site: Site) -> None:
    site.set_id("1", "example.net")
    both = threading.Barrier(2)

    def wait(stream: ssl.SSLSocket) -> None:
        both.wait(LONG_S)
        stream.sendall(answered(POLICY))

    site.policies.misbehave = wait
    assert run(site.check(), "a@example.com", "b@example.net").is_found


def test_message_without_a_domain_does_not_apply(site: Site) -> None:
    assert run(site.check(), "postmaster").outcome is Outcome.NOT_APPLICABLE


# What is kept


def test_policy_is_fetched_once_and_again_when_its_id_changes(site: Site) -> None:
    check = site.check()
    assert [run(check).is_found for _ in range(3)] == [True] * 3
    assert site.fetches == 1
    site.set_id("2")
    site.policies.answer = answered(POLICY.replace(b"enforce", b"testing"))
    assert run(check).domains[0].mode is StsMode.TESTING
    assert site.fetches == 2


def test_policy_is_fetched_again_when_it_has_expired(site: Site) -> None:
    check = site.check()
    run(check)
    site.now += 999
    run(check)
    assert site.fetches == 1
    site.now += 1
    run(check)
    assert site.fetches == 2


@pytest.mark.parametrize("lost", ["record", "nameserver", "host", "policy"])
def test_earlier_policy_holds_if_there_is_no_other_now(site: Site, lost: str) -> None:
    check = site.check(timeout_s=5.0)
    assert run(check).is_found
    match lost:
        case "record":
            site.dns.remove("_mta-sts.example.com", "TXT")
        case "nameserver":
            site.dns.faults["_mta-sts.example.com"] = Fault.SERVFAIL
        case "host":
            site.set_id("2")
            site.policies.show(authority("Stranger").issue("policy", "mta-sts.example.com"))
        case _:
            site.set_id("2")
            site.policies.answer = answered(b"gone", "404 Not Found")
    result = run(check)
    assert (result.outcome, result.is_enforced, result.domains[0].is_kept) == (Outcome.FOUND, True, True)
    assert "an earlier policy" in result.detail
    site.now += 1000
    assert not run(check).is_found


def test_policy_that_could_not_be_had_is_not_tried_for_each_message(site: Site) -> None:
    site.policies.answer = answered(b"busy", "503 Busy")
    check = site.check()
    assert run(check).detail == "example.com: HTTP 503"
    result = run(check)
    assert (result.outcome, site.fetches) == (Outcome.UNKNOWN, 1)
    assert "not asked again so soon" in result.detail
    site.policies.answer = answered(POLICY)
    site.now += 299
    assert run(check).is_unknown
    site.now += 1
    assert run(check).is_found


def test_new_id_is_tried_at_once(site: Site) -> None:
    site.policies.answer = answered(b"gone", "404 Not Found")
    check = site.check()
    assert [run(check).outcome for _ in range(2)] == [Outcome.NOT_FOUND] * 2
    assert site.fetches == 1
    site.policies.answer = answered(POLICY)
    site.set_id("2")
    assert run(check).is_found


def test_policies_in_a_file_are_for_all_workers_and_later_ones(site: Site, tmp_path: Path) -> None:
    path = str(tmp_path / "policies.sqlite")
    assert run(site.check(store=path)).is_found
    assert run(site.check(store=path)).is_found
    assert site.fetches == 1
    assert (tmp_path / "policies.sqlite").stat().st_mode & 0o777 == 0o600


def test_store_that_fails_could_not_tell_for_an_earlier_policy_must_not_be_missed(site: Site, tmp_path: Path) -> None:
    result = run(site.check(store=str(tmp_path / "missing" / "policies.sqlite")))
    assert result.is_unknown
    assert "the store: " in result.detail
    assert site.fetches == 0
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no database" * 100)
    assert run(site.check(store=str(broken))).is_unknown


def test_policy_that_cannot_be_kept_counts_all_the_same(site: Site) -> None:
    class Forgetful(MemoryPolicies):
        def keep(self, *_: object) -> None:
            raise OSError("disk full")

    result = run(site.check(store=Forgetful()))
    assert result.is_enforced
    assert "could not be kept: disk full" in result.detail


def kept(expires_at: float = 2000.0, text: bytes = POLICY) -> KeptPolicy:
    return KeptPolicy(id="1", text=text, expires_at=expires_at)


def test_memory_of_policies_is_bounded_and_the_oldest_go() -> None:
    store, deadline = MemoryPolicies(max_bytes=10_000), Deadline.after(LONG_S)
    for number in range(100):
        store.keep(f"{number}.example", kept(text=b"x" * 1500), 1000.0, deadline)
        store.recall("0.example", 1000.0, deadline)
    there = [number for number in range(100) if store.recall(f"{number}.example", 1000.0, deadline)]
    assert there == [0, 97, 98, 99]
    store.keep("large.example", kept(text=b"x" * 20_000), 1000.0, deadline)
    assert store.recall("large.example", 1000.0, deadline) is None
    store.keep("0.example", kept(expires_at=1500.0), 1000.0, deadline)
    assert store.recall("0.example", 1500.0, deadline) is None


def test_file_of_policies_is_bounded_and_forgets_what_has_expired(tmp_path: Path) -> None:
    store, deadline = SqlitePolicies(str(tmp_path / "x.sqlite"), max_policies=3), Deadline.after(LONG_S)
    for number in range(6):
        store.keep(f"{number}.example", kept(expires_at=2000.0 + number), 1000.0, deadline)
    assert [bool(store.recall(f"{number}.example", 1000.0, deadline)) for number in range(6)] == [False] * 3 + [
        True
    ] * 3
    store.keep("new.example", kept(expires_at=9000.0), 2004.0, deadline)
    assert store.recall("4.example", 1000.0, deadline) is None
    assert store.recall("5.example", 2004.0, deadline) == kept(expires_at=2005.0)
    store.close()
    assert store.recall("new.example", 2004.0, deadline) == kept(expires_at=9000.0)


# What the domain's host says that is no policy


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answered(POLICY, "404 Not Found"), "HTTP 404"),
        (answered(POLICY, "301 Moved\r\nLocation: https://mta-sts.example.net/"), "HTTP 301"),
        (answered(POLICY, "204 No Content"), "HTTP 204"),
        (answered(POLICY, content_type="text/html"), "not text/plain"),
        (answered(b"<html>"), "a line is no field"),
        (answered(b""), "no version"),
    ],
)
def test_answer_that_is_no_policy_is_none(site: Site, answer: bytes, reason: str) -> None:
    site.policies.answer = answer
    result = run(site.check())
    assert result.outcome is Outcome.NOT_FOUND
    assert reason in result.detail


def test_host_without_address_or_within_the_site_has_none(site: Site) -> None:
    result = run(site.check(allow_private=False))
    assert (result.outcome, site.service.connections) == (Outcome.NOT_FOUND, 0)
    assert "not of the public Internet: 127.0.0.1" in result.detail
    site.dns.remove("mta-sts.example.com", "A")
    assert run(site.check()).detail == "example.com: mta-sts.example.com has no address"


# What misbehaves


@pytest.mark.parametrize("names", [("mta-sts.example.org",), ("*.mta-sts.example.com",), ()])
def test_certificate_for_another_name_could_not_tell(site: Site, names: tuple[str, ...]) -> None:
    site.policies.show(ROOT.issue("mta-sts.example.com", *names))
    result = run(site.check())
    assert result.is_unknown
    assert "no TLS" in result.detail
    assert site.fetches == 0


def test_certificate_that_has_expired_or_is_a_strangers_could_not_tell(site: Site) -> None:
    site.policies.show(ROOT.issue("policy", "mta-sts.example.com", days=(-10, -1)))
    assert run(site.check()).is_unknown
    site.policies.show(authority("Stranger").issue("policy", "mta-sts.example.com"))
    assert run(site.check()).is_unknown
    assert site.fetches == 0


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Too Many", "408 Slow"])
def test_error_of_the_server_could_not_tell(site: Site, status: str) -> None:
    site.policies.answer = answered(POLICY, status)
    assert run(site.check()).is_unknown


def test_policy_that_is_too_large_could_not_tell(site: Site) -> None:
    site.policies.answer = answered(POLICY + b"x: y\n" * 20_000)
    result = run(site.check())
    assert result.is_unknown
    assert "more than 65536 bytes" in result.detail


@pytest.mark.parametrize(
    "answer", [b"", b"\xff\xfe garbage\r\n\r\n", answered(POLICY)[:-10], b"HTTP/1.1 200 OK\r\n", CUT]
)
def test_early_close_and_garbage_within_tls_could_not_tell(site: Site, answer: bytes) -> None:
    site.policies.answer = answer
    assert run(site.check()).is_unknown


@pytest.mark.parametrize("fault", ["hang", "trickle", "close_early", "talk_garbage"])
def test_server_that_is_none_could_not_tell_by_the_deadline(site: Site, fault: str) -> None:
    site.service.handler = getattr(site.service, fault)
    result = run(site.check(timeout_s=SHORT_S))
    assert result.is_unknown
    assert result.elapsed_s < LONG_S
    site.service.handler = site.policies
    assert run(site.check()).is_found


@pytest.mark.parametrize("is_silent", [True, False])
def test_server_that_hangs_or_trickles_within_tls_could_not_tell_by_the_deadline(site: Site, is_silent: bool) -> None:
    def misbehave(stream: ssl.SSLSocket) -> None:
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 60000\r\n\r\n")
        while not site.service.ending.wait(0.01):
            if not is_silent:
                stream.sendall(b"x")

    site.policies.misbehave = misbehave
    result = run(site.check(timeout_s=SHORT_S))
    assert result.is_unknown


def test_server_that_refuses_could_not_tell_and_the_next_address_is_tried(site: Site) -> None:
    site.dns.remove("mta-sts.example.com", "A")
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        site.dns.add("mta-sts.example.com A 127.0.0.2")
        result = run(site.check())
        assert result.is_unknown
        assert "127.0.0.2: cannot connect" in result.detail
        site.dns.add("mta-sts.example.com A 127.0.0.1")
        assert run(site.check()).is_found


def test_nameserver_that_does_not_tell_the_address_could_not_tell(site: Site) -> None:
    site.dns.faults["mta-sts.example.com"] = Fault.SERVFAIL
    result = run(site.check())
    assert result.is_unknown
    assert "addresses of mta-sts.example.com" in result.detail


# The rest


def test_result_stands_in_the_record(site: Site) -> None:
    assert json.loads(json.dumps(run(site.check()).as_record()))["domains"] == {"example.com": "enforce"}


def test_check_may_be_declared_in_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[checks.sts]\nkind = "MtaSts"\nstore = "/var/spool/x.sqlite"\non_failure = "ignore"\n')
    (check,) = Settings.load(str(path)).checks
    assert isinstance(check, MtaSts)
    assert isinstance(check.store, SqlitePolicies)
