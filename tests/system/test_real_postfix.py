# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail through real Postfix with our milter; what every mail server must do is in MailServerContract."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Chain
from tests.support.mail_samples import plain
from tests.support.mail_server_contract import MailServerContract
from tests.support.mail_site import MILTER_OPTIONS, SCAN_LIMIT_S, Site, mail_site
from tests.support.postfix import Postfix
from tests.support.smtp_client import submit

FILTER = Path(__file__).parents[1] / "support/filters/verdicts.py"

pytestmark = pytest.mark.system


def receiver(home: Path, sink_port: int, milter: str) -> Postfix:
    return Postfix(home, hostname="mx.example.org", deliver_to_port=sink_port, milter=milter, scan_limit_s=SCAN_LIMIT_S)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    # Postfix connects to the milter as its own user, who is in the daemons' group: hence -G.
    with mail_site(receiver, Chain(filter=FILTER, milter_options=MILTER_OPTIONS)) as running:
        yield running


class TestPostfix(MailServerContract):
    def test_the_mail_log_has_the_verdict_under_the_queue_id(self, site: Site) -> None:
        submit(site.receiver.port, plain("logged", "reject this"), recipients=["logged@example.net"])
        log = (site.home / "receiver/postfix.log").read_text()
        assert re.search(r"cleanup\[\d+\]: \w+: milter-reject: END-OF-MESSAGE .* to=<logged@example\.net>", log)
