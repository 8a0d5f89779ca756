# SPDX-License-Identifier: GPL-3.0-or-later
"""TLSA records against certificates: which records count, and which certificates they tell."""

from __future__ import annotations

import functools
import hashlib
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.checks.tls.certificate import Malformed, peer_chain, public_key_info
from defang_worker.checks.tls.dane import Verification, verified
from defang_worker.checks.tls.names import matches
from defang_worker.checks.tls.tlsa import TlsaRecord, usable_records
from tests.support.authority import DAY, NOW, Certificate, authority, made
from tests.support.certificate import CERTIFICATE

HOST = "mx.example.com"
JOIN_LIMIT_S = 30.0


@functools.cache
def root() -> Certificate:
    return authority()


@functools.cache
def middle() -> Certificate:
    return root().issue("Middle", is_authority=True)


@functools.cache
def server() -> Certificate:
    return middle().issue("server", HOST)


def record(certificate: Certificate, kind: str) -> TlsaRecord:
    usage, selector, matching_type = map(int, kind.split())
    data = certificate.spki if selector == 1 else certificate.der
    digests = {1: hashlib.sha256, 2: hashlib.sha512}
    return TlsaRecord(usage, selector, matching_type, digests[matching_type](data).digest() if matching_type else data)


def check(records: list[TlsaRecord], chain: list[bytes], *names: str, days: float = 0.0) -> Verification:
    return verified(records, chain, names=names or (HOST,), now=(NOW + days * DAY).timestamp())


# Which records count


@pytest.mark.parametrize("usage", [2, 3])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [(0, 5), (1, 32), (2, 64)])
def test_records_of_known_kinds_and_lengths_can_be_used(usage: int, selector: int, matching: tuple[int, int]) -> None:
    matching_type, length = matching
    assert TlsaRecord(usage, selector, matching_type, b"x" * length).is_usable
    if matching_type:
        assert not TlsaRecord(usage, selector, matching_type, b"x" * (length - 1)).is_usable
    assert not TlsaRecord(usage, selector, matching_type, b"").is_usable


@pytest.mark.parametrize("kind", [(0, 0, 1), (1, 1, 1), (4, 0, 1), (255, 0, 1), (3, 2, 1), (3, 255, 1), (3, 1, 3)])
def test_records_of_other_kinds_cannot(kind: tuple[int, int, int]) -> None:
    assert not TlsaRecord(*kind, b"x" * 32).is_usable


def test_weaker_digest_does_not_count_beside_a_stronger_one() -> None:
    weak, strong, full, other = (
        TlsaRecord(3, 1, 1, b"a" * 32),
        TlsaRecord(3, 1, 2, b"b" * 64),
        TlsaRecord(3, 1, 0, b"c"),
        TlsaRecord(3, 0, 1, b"d" * 32),
    )
    assert usable_records([weak, full, strong, other, strong]) == (full, strong, other)


def test_no_more_than_twenty_records_are_looked_at() -> None:
    assert len(usable_records([TlsaRecord(3, 1, 0, bytes([number])) for number in range(1, 100)])) == 20


# The server's own certificate


@pytest.mark.parametrize("kind", ["3 0 0", "3 0 1", "3 0 2", "3 1 0", "3 1 1", "3 1 2"])
def test_own_certificate_is_told_by_each_kind_of_record_and_no_other_one_is(kind: str) -> None:
    told = check([record(server(), kind)], server().chain)
    assert told
    assert told.reason.startswith(f"TLSA {kind}")
    assert not check([record(server(), kind)], middle().issue("other", HOST).chain)


def test_neither_name_nor_date_of_the_own_certificate_counts() -> None:
    assert check([record(server(), "3 1 1")], server().chain, "other.example", days=1000)


def test_record_for_the_own_certificate_does_not_tell_an_authority() -> None:
    assert not check([record(middle(), "3 1 1")], server().chain)


def test_one_record_of_several_is_enough() -> None:
    assert check(
        [TlsaRecord(3, 1, 1, b"x" * 32), TlsaRecord(0, 0, 1, b"x" * 32), record(server(), "3 1 1")], server().chain
    )


def test_reason_tells_what_is_missing() -> None:
    assert check([TlsaRecord(1, 1, 1, b"x" * 32)], server().chain).reason == "no usable TLSA record"
    assert check([record(server(), "3 1 1")], []).reason == "no certificate"
    assert check([TlsaRecord(3, 1, 1, b"x" * 32)], server().chain).reason == "no TLSA record matches the certificate"


# Authorities


@pytest.mark.parametrize("kind", ["2 0 0", "2 0 1", "2 0 2", "2 1 0", "2 1 1", "2 1 2"])
@pytest.mark.parametrize("anchor", [root, middle])
def test_authority_is_told_wherever_it_stands_in_the_chain(kind: str, anchor: object) -> None:
    assert callable(anchor)
    assert check([record(anchor(), kind)], server().chain)


def test_authority_in_the_record_need_not_be_shown() -> None:
    assert check([record(root(), "2 0 0")], server().chain[:-1])
    assert not check([record(root(), "2 0 1")], server().chain[:-1])
    assert not check([record(root(), "2 1 0")], server().chain[:-1])


def test_order_of_the_chain_does_not_matter_and_strangers_in_it_do_no_harm() -> None:
    own, above, top = server().chain
    stranger = authority("Stranger").der
    assert check([record(root(), "2 0 1")], [own, stranger, top, above])


def test_server_that_is_not_the_authoritys_is_refused() -> None:
    theirs = authority().issue("server", HOST)  # of an authority with the same name
    told = check([record(root(), "2 0 1")], [theirs.der, middle().der, root().der])
    assert not told
    assert "no authority" in told.reason


def test_authority_does_not_stand_for_itself_as_a_server() -> None:
    assert not check([record(root(), "2 0 1")], [root().der])


@pytest.mark.parametrize(
    ("names", "asked", "is_verified"),
    [
        ((HOST,), (HOST,), True),
        ((HOST.upper(),), (HOST,), True),
        (("*.example.com",), (HOST,), True),
        (("*.com",), (HOST,), False),
        (("other.example",), (HOST, "other.example"), True),
        (("other.example",), (HOST,), False),
        ((), ("server",), True),
        (("other.example",), ("server",), False),
    ],
)
def test_certificate_of_an_authority_is_to_name_the_host(
    names: tuple[str, ...], asked: tuple[str, ...], is_verified: bool
) -> None:
    issued = root().issue("server", *names)
    told = check([record(root(), "2 0 1")], issued.chain, *asked)
    assert told.is_verified is is_verified
    assert is_verified or "is for" in told.reason


@pytest.mark.parametrize("days", [-2, 31])
def test_dates_count_with_an_authority(days: int) -> None:
    told = check([record(root(), "2 0 1")], server().chain, days=days)
    assert not told
    assert "expired" in told.reason
    old = authority("Old", days=(-10, -5)).issue("server", HOST)
    assert not check([record(old.issuer or old, "2 0 1")], old.chain)


@pytest.mark.parametrize(
    ("above", "reason"),
    [
        ({}, "no authority"),
        ({"is_authority": True, "may_sign": False}, "may not"),
        ({"is_authority": True, "extra": x509.TLSFeature([x509.TLSFeatureType.status_request])}, "not known here"),
    ],
)
def test_only_authorities_may_issue(above: dict[str, object], reason: str) -> None:
    issued = root().issue("Above", **above).issue("server", HOST)
    told = check([record(root(), "2 0 1")], issued.chain)
    assert not told
    assert reason in told.reason


def test_number_of_authorities_below_one_is_kept() -> None:
    narrow = authority("Narrow", path_length=0)
    assert check([record(narrow, "2 0 1")], narrow.issue("server", HOST).chain)
    deep = narrow.issue("Deep", is_authority=True).issue("server", HOST)
    assert "more authorities" in check([record(narrow, "2 0 1")], deep.chain).reason


@pytest.mark.parametrize(
    ("usage", "is_verified"),
    [(None, True), (ExtendedKeyUsageOID.CLIENT_AUTH, False), (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, True)],
)
def test_certificate_is_to_be_for_servers(usage: x509.ObjectIdentifier | None, is_verified: bool) -> None:
    issued = root().issue("server", HOST, usage=usage)
    assert check([record(root(), "2 0 1")], issued.chain).is_verified is is_verified


def test_chain_that_goes_in_a_circle_ends() -> None:
    one = authority("Circle")
    again = made("Circle", is_authority=True, issuer=one)
    issued = again.issue("server", HOST)
    assert not check([record(root(), "2 0 1")], [issued.der, *[again.der, one.der] * 20])


# Whatever comes


@given(st.binary(max_size=200))
def test_bytes_that_are_no_certificate_are_malformed_or_have_a_part_that_is_the_key(text: bytes) -> None:
    with suppress(Malformed):
        assert public_key_info(text) in text


def test_certificate_of_a_version_that_does_not_exist_is_malformed() -> None:
    whole = bytearray(server().der)
    place = whole.index(b"\xa0\x03\x02\x01") + 4  # [0] EXPLICIT INTEGER, RFC 5280 section 4.1
    whole[place] = 3
    assert not check([record(middle(), "2 1 1")], [bytes(whole), middle().der])


@given(st.data())
def test_damaged_certificate_is_never_verified_by_its_authority(data: st.DataObject) -> None:
    whole = bytearray(server().der)
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    assert not check([record(middle(), "2 1 1")], [bytes(whole), middle().der])


@given(
    st.lists(st.builds(TlsaRecord, *[st.integers(0, 255)] * 3, st.binary(max_size=70))),
    st.lists(st.binary(max_size=99)),
)
def test_any_records_and_chain_give_a_verdict(records: list[TlsaRecord], chain: list[bytes]) -> None:
    told = verified(records, chain, names=[HOST])
    assert told.reason
    assert not told or any(one.data in (chain[0], hashlib.sha256(chain[0]).digest()) for one in records)


@given(st.data())
def test_certificate_that_was_cut_has_no_key(data: st.DataObject) -> None:
    whole = server().der
    with pytest.raises(Malformed):
        public_key_info(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_key_of_a_certificate_is_the_one_that_openssl_sees() -> None:
    der = ssl.PEM_cert_to_DER_cert(CERTIFICATE.read_text())
    assert public_key_info(der) in der
    assert public_key_info(server().der) == server().spki


def test_chain_of_a_connection_is_what_the_server_shows(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    serving = server().server_context(tmp_path)

    def serve() -> None:
        with serving.wrap_socket(theirs, server_side=True) as accepted:
            accepted.recv(1)

    served = threading.Thread(target=serve)
    served.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(ours, server_hostname=HOST) as connected:
        assert peer_chain(connected) == server().chain[:2]
        connected.sendall(b"x")
        served.join(JOIN_LIMIT_S)
    assert not served.is_alive()


# Names


@pytest.mark.parametrize(
    ("pattern", "host", "is_match"),
    [
        ("mx.example.com", "MX.Example.COM.", True),
        ("*.example.com", "mx.example.com", True),
        ("*.example.com", "a.mx.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),
        ("mx.*.com", "mx.example.com", False),
        ("m*.example.com", "mx.example.com", False),
        ("*", "com", False),
        ("*.", "com", False),
        ("", "", False),
        ("*.example.com", "*.example.com", True),
    ],
)
def test_star_is_one_whole_label_the_first(pattern: str, host: str, is_match: bool) -> None:
    assert matches(pattern, host) is is_match
