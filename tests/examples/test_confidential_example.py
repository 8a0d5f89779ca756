# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/confidential.py, with domains that are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from defang_worker.checks import Dane, KeptPolicy, MtaSts, Resolver
from defang_worker.checks.budget import Deadline
from defang_worker.checks.tls.policy_store import MemoryPolicies
from defang_worker.testing import MessageBuilder, Result, run_filter
from tests.examples.conftest import Example
from tests.support.dns_server import DnsServer, Fault

ZONE = f"""
dane.example MX 10 mx.dane.example
mx.dane.example A 192.0.2.1
_25._tcp.mx.dane.example TLSA 3 1 1 {"ab" * 32}
sts.example MX 10 mx.sts.example
_mta-sts.sts.example TXT "v=STSv1; id=1"
testing.example MX 10 mx.sts.example
_mta-sts.testing.example TXT "v=STSv1; id=1"
mx.sts.example A 192.0.2.2
plain.example MX 10 mx.sts.example
"""
Sent = Callable[..., Result]


@pytest.fixture
def sent(example: Example) -> Iterator[Sent]:
    store = MemoryPolicies()
    for domain, mode in (("sts.example", "enforce"), ("testing.example", "testing")):
        text = f"version: STSv1\nmode: {mode}\nmax_age: 1000\nmx: mx.sts.example\n".encode()
        store.keep(domain, KeptPolicy(id="1", text=text, expires_at=2000.0), 1000.0, Deadline.after(1))
    with DnsServer(ZONE) as server:
        server.authentic.update({"dane.example", "mx.dane.example", "_25._tcp.mx.dane.example"})
        server.faults["mx.broken.example"] = Fault.SERVFAIL
        server.add("broken.example MX 10 mx.broken.example")

        class UnderTest(example("confidential")):  # type: ignore[misc]
            dane = Dane(resolver=Resolver(server.address), on_failure="ignore")
            sts = MtaSts(store, resolver=Resolver(server.address), clock=lambda: 1000.0, on_failure="ignore")

        def send(*recipients: str, sensitivity: str = "Company-Confidential") -> Result:
            mail = MessageBuilder().header("Sensitivity", sensitivity)
            return run_filter(mail, UnderTest, recipients=recipients)

        yield send


@pytest.mark.parametrize("recipients", [("a@dane.example",), ("a@sts.example", "b@dane.example"), ("a@example.org",)])
def test_confidential_mail_goes_where_the_way_is_safe(sent: Sent, recipients: tuple[str, ...]) -> None:
    assert sent(*recipients).verdict == "accept"


@pytest.mark.parametrize(
    ("recipients", "exposed"),
    [
        (("a@plain.example",), "plain.example"),
        (("a@dane.example", "b@testing.example", "c@plain.example"), "plain.example, testing.example"),
    ],
)
def test_confidential_mail_to_one_domain_where_it_is_not_is_refused(
    sent: Sent, recipients: tuple[str, ...], exposed: str
) -> None:
    result = sent(*recipients)
    assert (result.verdict, result.reply) == (
        "reject",
        f"Confidential, and the way to {exposed} is not safe: DANE or MTA-STS is needed",
    )


def test_confidential_mail_waits_if_it_cannot_be_told(sent: Sent) -> None:
    server_fault = sent("a@broken.example")
    assert (server_fault.verdict, "cannot be told now" in server_fault.reply) == ("tempfail", True)


def test_other_mail_goes_anywhere(sent: Sent) -> None:
    assert sent("a@plain.example", sensitivity="Personal").verdict == "accept"
