# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail through real Sendmail with our milter; what every mail server must do is in MailServerContract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Chain
from tests.support.mail_samples import plain
from tests.support.mail_server_contract import MailServerContract
from tests.support.mail_site import MILTER_OPTIONS, SCAN_LIMIT_S, Site, mail_site
from tests.support.sendmail import Sendmail
from tests.support.smtp_client import submit

FILTER = Path(__file__).parents[1] / "support/filters/verdicts.py"

pytestmark = pytest.mark.system


def receiver(home: Path, sink_port: int, milter: str) -> Sendmail:
    return Sendmail(
        home, hostname="mx.example.org", deliver_to_port=sink_port, milter=milter, scan_limit_s=SCAN_LIMIT_S
    )


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with mail_site(receiver, Chain(filter=FILTER, milter_options=MILTER_OPTIONS)) as running:
        yield running


class TestSendmail(MailServerContract):
    def test_the_reason_of_a_quarantine_shows_in_mailq(self, site: Site) -> None:
        submit(site.receiver.port, plain("reason", "quarantine this"), recipients=["reason@example.net"])
        assert "QUARANTINE: looks odd" in site.receiver.held()
        site.receiver.release()
        site.sink.wait_for(b"reason@example.net")
