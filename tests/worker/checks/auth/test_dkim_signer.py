# SPDX-License-Identifier: GPL-3.0-or-later
"""DKIM signatures made: by keys of both kinds, for what is delivered, with nothing left to add."""

from __future__ import annotations

from pathlib import Path

import dkim
import pytest

from defang_worker.checks import Dkim, DkimKey, DkimSigner, DkimWord
from tests.worker.checks.auth.mail import PLAIN, message, openssl_ed25519, rsa_key
from tests.worker.checks.auth.names import KnownNames
from tests.worker.checks.auth.vectors import RFC8463_ED25519_KEY, RFC8463_SEED

RSA_NAME = "mail._domainkey.example.com"
ED25519_NAME = "ed._domainkey.example.com"
ED25519 = DkimKey("example.com", "ed", RFC8463_SEED)


def rsa() -> DkimKey:
    return DkimKey("example.com", "mail", rsa_key()[0])


def words(raw: bytes) -> list[DkimWord]:
    check = Dkim(resolver=KnownNames({RSA_NAME: rsa_key()[1], ED25519_NAME: RFC8463_ED25519_KEY}))
    return [one.result for one in message(raw).run_checks(check)[check].signatures]


def test_message_is_signed_with_all_keys_as_it_is_delivered() -> None:
    mail = message()
    mail.headers.replace("Subject", "another")
    mail.headers.add("List-Id", "<list.example.com>")
    mail.append_text("-- \nA disclaimer\n")
    DkimSigner(rsa(), ED25519).sign(mail)
    delivered = mail.as_delivered()
    assert delivered.count(b"DKIM-Signature:") == 2
    assert b"Subject: another" in delivered
    assert b"A disclaimer" in delivered
    assert words(delivered) == [DkimWord.PASS, DkimWord.PASS]


def test_dkimpy_finds_both_signatures_good() -> None:
    values = DkimSigner(rsa(), ED25519).signatures(PLAIN)
    records = {b"mail": rsa_key()[1].encode(), b"ed": RFC8463_ED25519_KEY.encode()}
    for value in values:
        raw = b"DKIM-Signature: " + value.encode() + b"\n" + PLAIN
        assert dkim.verify(raw, dnsfunc=lambda name, **_: records[name.partition(b".")[0]])


@pytest.mark.parametrize("name", ["From", "Subject", "To", "Reply-To", "Content-Type", "MIME-Version"])
def test_field_that_is_oversigned_cannot_be_added(name: str) -> None:
    (value,) = DkimSigner(ED25519).signatures(PLAIN)
    field = b"DKIM-Signature: " + value.encode() + b"\n"
    assert words(field + PLAIN) == [DkimWord.PASS]
    assert words(b"%b: x\n" % name.encode() + field + PLAIN) == [DkimWord.FAIL]


def test_fields_that_are_there_twice_are_signed_twice() -> None:
    raw = b"X-One: a\nX-One: b\n" + PLAIN
    (value,) = DkimSigner(ED25519, fields=("X-One",), oversigned=()).signatures(raw)
    field = b"DKIM-Signature: " + value.encode() + b"\n"
    assert words(field + raw) == [DkimWord.PASS]
    assert words((field + raw).replace(b"X-One: a", b"X-One: c")) == [DkimWord.FAIL]
    assert words(field + b"X-One: 0\n" + raw) == [DkimWord.PASS]


def test_signature_of_a_message_with_very_many_fields_of_a_name_fits_a_line_and_is_good() -> None:
    raw = b"Content-Transfer-Encoding: 7bit\r\n" * 1_500 + PLAIN
    mail = message(raw)
    (value,) = DkimSigner(ED25519).signatures(mail.as_delivered())
    assert len(value) < 4_000
    DkimSigner(ED25519).sign(mail)
    assert words(mail.as_delivered()) == [DkimWord.PASS]


def test_key_of_openssl_is_read_and_its_record_told(tmp_path: Path) -> None:
    openssl_ed25519(tmp_path / "key.pem")
    key = DkimKey.from_file("example.com", "new", str(tmp_path / "key.pem"))
    assert key.algorithm == "ed25519-sha256"
    raw = b"DKIM-Signature: " + DkimSigner(key).signatures(PLAIN)[0].encode() + b"\n" + PLAIN
    check = Dkim(resolver=KnownNames({"new._domainkey.example.com": key.public_record}))
    assert message(raw).run_checks(check)[check].word is DkimWord.PASS
    assert ED25519.public_record == RFC8463_ED25519_KEY


def test_key_with_crlf_line_ends_is_read() -> None:
    assert DkimKey("example.com", "mail", rsa_key()[0].replace(b"\n", b"\r\n")).algorithm == "rsa-sha256"


@pytest.mark.parametrize(
    "secret", [b"", b"something", b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA", b"A" * 44]
)
def test_what_is_no_key_is_refused_when_the_filter_is_loaded(secret: bytes) -> None:
    with pytest.raises(ValueError, match=r"no private key for s\._domainkey\.example\.com"):
        DkimKey("example.com", "s", secret)


def test_small_rsa_key_is_refused() -> None:
    with pytest.raises(ValueError, match="768 bits"):
        DkimKey("example.com", "s", rsa_key(768)[0])


def test_secret_is_not_shown() -> None:
    assert "secret" not in repr(rsa())
    with pytest.raises(ValueError, match="openssl rsa"):
        rsa().public_record  # noqa: B018


def test_fields_that_change_on_the_way_are_not_signed() -> None:
    with pytest.raises(ValueError, match="not to be signed: received"):
        DkimSigner(ED25519, fields=("Received",))
    with pytest.raises(ValueError, match="needs a key"):
        DkimSigner()


def test_message_without_from_is_not_signed() -> None:
    with pytest.raises(ValueError, match="without From"):
        DkimSigner(ED25519).signatures(b"Subject: x\n\nHi\n")
