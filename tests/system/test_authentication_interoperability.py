# SPDX-License-Identifier: GPL-3.0-or-later
"""What others make of our signatures, seals and Authentication-Results, and we of theirs: Perl's Mail::DKIM and
Mail::AuthenticationResults, which MIMEDefang and SpamAssassin use, too."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from defang_worker.checks import (
    Arc,
    ArcResult,
    ArcSealer,
    ArcWord,
    Dkim,
    DkimKey,
    DkimSigner,
    DkimWord,
    MethodResult,
    Outcome,
    Resolver,
)
from defang_worker.checks.auth.method_result import field_value
from tests.support.dns_server import DnsServer
from tests.worker.checks.auth.mail import message, rsa_key

pytestmark = pytest.mark.system

SCRIPT = Path(__file__).parent / "interop" / "mail_dkim.pl"
WAIT_S = 60
LETTER = (
    b"From: Joe <joe@example.com>\nTo: bob@example.org\nSubject:  two\n\tlines \nMIME-Version: 1.0\n"
    b"Content-Type: text/plain\nDate: Mon, 5 Jan 2026 10:00:00 +0000\n\nHi  there. \t\n\n.x\n\n\n"
)


@pytest.fixture(scope="module")
def names() -> Iterator[DnsServer]:
    record = rsa_key()[1]
    quoted = " ".join(f'"{record[at : at + 200]}"' for at in range(0, len(record), 200))
    domains = ("d1.example", "d2.example", "d3.example", "example.com")
    with DnsServer("\n".join(f"s._domainkey.{domain} TXT {quoted}" for domain in domains)) as server:
        yield server


def by_perl(task: str, raw: bytes, *arguments: str) -> list[str]:
    done = subprocess.run(
        ["perl", SCRIPT, task, *arguments],
        input=raw.replace(b"\n", b"\r\n"), capture_output=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def key(domain: str) -> DkimKey:
    return DkimKey(domain, "s", rsa_key()[0])


def found(names: DnsServer, raw: bytes) -> ArcResult:
    check = Arc(resolver=Resolver(names.address))
    return message(raw).run_checks(check)[check]


def sealed(names: DnsServer, raw: bytes, domain: str) -> bytes:
    results = "mx.example.org; spf=pass smtp.mailfrom=joe@example.com;\n dmarc=pass header.from=example.com"
    fields = ArcSealer(key(domain)).header_fields(raw, results, found(names, raw))
    return b"".join(f"{name}: {value}\n".encode() for name, value in reversed(fields)) + raw


def sealed_by_perl(raw: bytes, key_file: Path, domain: str, status: str) -> bytes:
    told = b"Authentication-Results: mx.example.org; dmarc=pass header.from=example.com\n"
    lines = by_perl("seal", told + raw, str(key_file), domain, "s", status)
    return "".join(f"{line}\n" for line in lines).encode() + raw


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    path.write_bytes(rsa_key()[0])
    return path


def test_our_signature_holds_to_others(names: DnsServer) -> None:
    (value,) = DkimSigner(key("example.com")).signatures(LETTER)
    raw = f"DKIM-Signature: {value}\n".encode() + LETTER
    assert by_perl("dkim", raw, str(names.port)) == ["pass"]
    assert by_perl("dkim", raw.replace(b"Hi  there", b"Ho  there"), str(names.port)) == ["fail"]
    check = Dkim(resolver=Resolver(names.address))
    assert message(raw).run_checks(check)[check].word is DkimWord.PASS


@pytest.mark.parametrize("count", [1, 2, 3])
def test_our_chain_holds_to_others(names: DnsServer, count: int) -> None:
    raw = LETTER
    for number in range(1, count + 1):
        raw = sealed(names, raw, f"d{number}.example")
    word, detail = by_perl("arc", raw, str(names.port))
    assert (word, detail.count("=pass"), "=fail" in detail) == ("pass", 2 * count, False)
    assert by_perl("arc", raw.replace(b"Hi  there", b"Ho  there"), str(names.port))[0] == "fail"


def test_chain_of_others_holds_here_and_goes_on(names: DnsServer, key_file: Path) -> None:
    first = sealed_by_perl(LETTER, key_file, "d1.example", "none")
    assert found(names, first).word is ArcWord.PASS
    second = sealed(names, first, "d2.example")
    third = sealed_by_perl(second, key_file, "d3.example", "pass")
    result = found(names, third)
    assert (result.word, result.oldest_pass) == (ArcWord.PASS, 0)
    assert result.domains == ("d1.example", "d2.example", "d3.example")
    assert by_perl("arc", third, str(names.port))[0] == "pass"
    assert {one.method for one in result.seals[0].results} >= {"dmarc"}


def test_chain_that_was_changed_by_the_last_host_has_the_same_oldest_signature(names: DnsServer) -> None:
    first = sealed(names, LETTER, "d1.example")
    fields = ArcSealer(key("d2.example")).header_fields(
        changed := first.replace(b"Hi  there", b"Ho  there"), "mx.example.org; none", found(names, first)
    )
    raw = b"".join(f"{name}: {value}\n".encode() for name, value in reversed(fields)) + changed
    result = found(names, raw)
    word, detail = by_perl("arc", raw, str(names.port))
    assert (result.word, result.oldest_pass, word) == (ArcWord.PASS, 2, "pass")
    assert "ams.1.d1.example=fail" in detail
    assert "ams.2.d2.example=pass" in detail


def test_end_of_a_broken_chain_is_one_to_others(names: DnsServer) -> None:
    raw = sealed(names, sealed(names, LETTER, "d1.example").replace(b"Hi  there", b"Ho  there"), "d2.example")
    assert b"ARC-Seal: i=2; cv=fail;" in raw
    assert found(names, raw).outcome is Outcome.FOUND
    assert by_perl("arc", raw, str(names.port))[0] == "fail"


NASTY = [
    'a"; dkim=pass header.d=bank.example; x="@example.com',
    'a\\"; dkim=pass header.d=bank.example; x=\\"@example.com',
    '"a b"@example.com',
    "a; dkim=pass",
    "(a",
    "a)",
    "\\",
    '"',
    "a\r\nAuthentication-Results: mx.example.org; dkim=pass",
    "dkim=pass",
    "bounce+joe=example.com@lists.example",
    "[192.0.2.1]",
    "2001:db8::1",
    "b\u00f6b@b\u00fccher.example",
]


@pytest.mark.parametrize("value", NASTY)
def test_others_read_as_many_results_as_were_told(value: str) -> None:
    results = [
        MethodResult(method="spf", result="fail", reason=value, properties=(("smtp.mailfrom", value),)),
        MethodResult(
            method="dkim", result="fail", comment=value, properties=(("header.d", value), ("header.b", "/+="))
        ),
        MethodResult(method="dmarc", result="fail", properties=(("header.from", value),)),
    ]
    field = f"Authentication-Results: {field_value('mx.example.org', results)}\n".encode()
    name, *told = by_perl("authres", field + LETTER)
    assert name == "mx.example.org"
    assert [one.partition("\t")[0] for one in told] == ["spf=fail", "dkim=fail", "dmarc=fail"]
    assert [[prop.partition("=")[0] for prop in one.split("\t")[1:]] for one in told] == [
        ["reason", "smtp.mailfrom"],
        ["header.d", "header.b"],
        ["header.from"],
    ]
