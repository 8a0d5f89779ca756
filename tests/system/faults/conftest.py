# SPDX-License-Identifier: GPL-3.0-or-later
"""One chain for all tests of faults: each puts right what its fault has cost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.daemons import make_spool, private_home, running
from tests.support.fault_site import CHAIN, Site
from tests.support.small_disk import small_file_system


@pytest.fixture(scope="package")
def chain() -> Iterator[Site]:
    with private_home("faults-") as home, small_file_system(home / "spool") as spool:
        held = home / "held"
        make_spool(held)
        with running(CHAIN, home=home, spool=spool) as daemons:
            yield Site(daemons, held)


@pytest.fixture
def site(chain: Site) -> Iterator[Site]:
    """The chain, serving; and what a fault has cost is put right and nothing left behind it."""
    chain.begin()
    yield chain
    chain.end()
