# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/arc_seal.py: what another site finds of mail that has passed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from defang_worker.api.message import Message
from defang_worker.checks import Arc, ArcResult, ArcWord, Dmarc
from tests.examples.conftest import Example
from tests.worker.checks.auth.mail import PLAIN, message, rsa_key
from tests.worker.checks.auth.names import KnownNames

KNOWN: dict[str, str | list[str] | None] = {
    "arc._domainkey.lists.example.org": rsa_key()[1],
    "_dmarc.example.com": "v=DMARC1; p=reject",
    "example.com": "v=spf1 ip4:192.0.2.7 -all",
}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "dkim.key"
    path.write_bytes(rsa_key()[0])
    return path


def handed_on(
    example: Example, key: Path, raw: bytes, known: dict[str, str | list[str] | None] | None = None
) -> Message:
    names = KnownNames(known or KNOWN)

    class UnderTest(example("arc_seal")):  # type: ignore[misc]
        key_file = str(key)
        arc = Arc(resolver=names)
        dmarc = Dmarc(resolver=names)

    mail = message(raw)
    site = UnderTest()
    site.on_start()
    site.filter_end(mail)
    site.filter_wrapup(mail)
    return mail


def found(raw: bytes) -> ArcResult:
    check = Arc(resolver=KnownNames(KNOWN))
    return message(raw).run_checks(check)[check]


def test_next_site_reads_that_the_mail_was_authentic(example: Example, key_file: Path) -> None:
    first = handed_on(example, key_file, PLAIN).as_delivered()
    assert b"This mail came through lists.example.org." in first
    assert found(first).word is ArcWord.PASS
    assert found(first).vouches("example.com", ["lists.example.org"])
    second = found(handed_on(example, key_file, first).as_delivered())
    assert (second.word, second.oldest_pass, len(second.seals)) == (ArcWord.PASS, 2, 2)
    assert ("arc", "pass") in {(one.method, one.result) for one in second.seals[1].results}


def test_chain_that_is_broken_is_ended_once(example: Example, key_file: Path) -> None:
    broken = handed_on(example, key_file, PLAIN).as_delivered().replace(b"Hi.", b"Ho.")
    ended = handed_on(example, key_file, broken).as_delivered()
    assert ended.count(b"ARC-Seal: ") == 2
    assert b"ARC-Seal: i=2; cv=fail;" in ended
    assert handed_on(example, key_file, ended).as_delivered().count(b"ARC-Seal: ") == 2


def test_chain_that_cannot_be_verified_just_now_defers_the_message_unsealed(example: Example, key_file: Path) -> None:
    first = handed_on(example, key_file, PLAIN).as_delivered()
    mail = handed_on(example, key_file, first, KNOWN | {"arc._domainkey.lists.example.org": None})
    assert mail.is_rejected
    assert mail.verdict is not None
    assert mail.verdict.code == 451
    assert len(mail.headers.all("ARC-Seal")) == 1
