# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail through real Postfix with our milter; what every mail server must do is in MailServerContract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Chain
from tests.support.mail_server_contract import MailServerContract
from tests.support.mail_site import Site, mail_site
from tests.support.postfix import Postfix

FILTER = Path(__file__).parents[1] / "support/filters/verdicts.py"

pytestmark = pytest.mark.system


def receiver(home: Path, sink_port: int, milter: str) -> Postfix:
    return Postfix(home, hostname="mx.example.org", deliver_to_port=sink_port, milter=milter)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    # Postfix connects to the milter as its own user, who is in the daemons' group: hence -G.
    with mail_site(receiver, Chain(filter=FILTER, milter_options=("-G",))) as running:
        yield running


class TestPostfix(MailServerContract):
    pass
