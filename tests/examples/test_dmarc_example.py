# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/dmarc.py, with domains that are made up."""

from __future__ import annotations

import pytest

from defang_worker.api.message import Message
from defang_worker.checks import Arc, ArcResult, ArcSealer, ArcWord, DkimKey, Dmarc, Outcome, ReverseName
from defang_worker.checks.dns.answer import Answer, Status
from tests.examples.conftest import Example
from tests.worker.checks.auth.mail import PLAIN, message, rsa_key
from tests.worker.checks.auth.names import KnownNames

SPF = "v=spf1 ip4:192.0.2.7 -all"
SEALER: dict[str, str | list[str] | None] = {"arc._domainkey.lists.example.org": rsa_key()[1]}


class NoNames(KnownNames):
    """No address has a name."""

    def _existence(self, name: str) -> Answer:
        return Answer(status=Status.NO_NAME)


def sealed(results: str, *, domain: str = "lists.example.org") -> bytes:
    """A message as a list hands it on, that has found this."""
    none = ArcResult(check="arc", outcome=Outcome.NOT_APPLICABLE, word=ArcWord.NONE)
    fields = ArcSealer(DkimKey(domain, "arc", rsa_key()[0])).header_fields(PLAIN, f"{domain}; {results}", none)
    return b"".join(f"{name}: {value}\n".encode() for name, value in reversed(fields)) + PLAIN


def filtered(
    example: Example, policy: str | None, *, raw: bytes = PLAIN, sender: bytes = b"a@elsewhere.example", spf: str = ""
) -> Message:
    known: dict[str, str | list[str] | None] = {
        "_dmarc.example.com": policy,
        sender.partition(b"@")[2].decode(): spf or [],
    }
    names = KnownNames(known | SEALER)

    class UnderTest(example("dmarc")):  # type: ignore[misc]
        dmarc = Dmarc(resolver=names)
        arc = Arc(resolver=names, on_failure="ignore")
        client = ReverseName(resolver=NoNames(), on_failure="ignore")

    mail = message(raw, sender)
    UnderTest().filter_begin(mail)
    return mail


@pytest.mark.parametrize(
    ("policy", "is_rejected", "mark"),
    [
        ("v=DMARC1; p=reject", True, None),
        ("v=DMARC1; p=reject; t=y", False, "fail, example.com is suspicious of it"),
        ("v=DMARC1; p=quarantine", False, "fail, example.com is suspicious of it"),
        ("v=DMARC1; p=none", False, None),
        (None, True, None),
    ],
)
def test_policy_of_the_domain_is_done(
    example: Example, policy: str | None, is_rejected: bool, mark: str | None
) -> None:
    """A policy that cannot be had defers the message, which is no less refused for now."""
    mail = filtered(example, policy)
    assert (mail.is_rejected, mail.headers.get("X-DMARC")) == (is_rejected, mark)


def test_mail_that_is_authentic_passes_unchanged(example: Example) -> None:
    mail = filtered(example, "v=DMARC1; p=reject", sender=b"joe@example.com", spf=SPF)
    assert (mail.is_rejected, mail.headers.get("X-DMARC")) == (False, None)


def test_list_that_is_known_passes_with_a_mark_if_it_is_that_list(example: Example) -> None:
    mail = filtered(example, "v=DMARC1; p=reject", sender=b"bounce@lists.example.net", spf=SPF)
    assert (mail.is_rejected, mail.headers.get("X-DMARC")) == (False, "fail, from a list")
    assert filtered(example, "v=DMARC1; p=reject", sender=b"bounce@lists.example.net").is_rejected


def test_list_that_seals_is_believed_if_it_is_known_and_found_the_mail_authentic(example: Example) -> None:
    passed = "dmarc=pass header.from=example.com"
    mail = filtered(example, "v=DMARC1; p=reject", raw=sealed(passed))
    mark = "fail, but it was authentic before lists.example.org"
    assert (mail.is_rejected, mail.headers.get("X-DMARC")) == (False, mark)
    for raw in (
        sealed("dmarc=fail header.from=example.com"),
        sealed("dmarc=pass header.from=example.net"),
        sealed(passed, domain="other.example"),
        sealed(passed).replace(b"Hi.", b"Ho."),
    ):
        assert filtered(example, "v=DMARC1; p=reject", raw=raw).is_rejected


def test_what_was_found_stands_in_the_header_and_forged_results_do_not(example: Example) -> None:
    forged = b"Authentication-Results: MAIL.example.org (x) 1; dmarc=pass header.from=example.com\n"
    other = b"Authentication-Results: other.example; dmarc=fail\n"
    raw = forged + other + PLAIN
    mail = filtered(example, "v=DMARC1; p=none", raw=raw, sender=b"joe@example.com", spf=SPF)
    assert mail.headers.all("Authentication-Results") == [
        (
            "mail.example.org; spf=pass smtp.mailfrom=joe@example.com; dkim=none; dmarc=pass header.from=example.com "
            "policy.dmarc=none; arc=none; iprev=permerror policy.iprev=192.0.2.7"
        ),
        "other.example; dmarc=fail",
    ]


def test_second_from_is_refused(example: Example) -> None:
    assert filtered(example, "v=DMARC1; p=none", raw=b"From: b@example.net\n" + PLAIN).is_rejected
