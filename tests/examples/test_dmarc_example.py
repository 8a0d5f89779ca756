# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/dmarc.py, with domains that are made up."""

from __future__ import annotations

import pytest

from defang_worker.api.message import Message
from defang_worker.checks import Dmarc
from tests.examples.conftest import Example
from tests.worker.checks.auth.mail import PLAIN, message
from tests.worker.checks.auth.names import KnownNames

SPF = "v=spf1 ip4:192.0.2.7 -all"


def filtered(
    example: Example, policy: str | None, *, raw: bytes = PLAIN, sender: bytes = b"a@elsewhere.example", spf: str = ""
) -> Message:
    names = KnownNames({"_dmarc.example.com": policy, sender.partition(b"@")[2].decode(): spf or []})

    class UnderTest(example("dmarc")):  # type: ignore[misc]
        dmarc = Dmarc(resolver=names)

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


def test_second_from_is_refused(example: Example) -> None:
    assert filtered(example, "v=DMARC1; p=none", raw=b"From: b@example.net\n" + PLAIN).is_rejected
