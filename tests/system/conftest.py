# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests with real programs need: root, and failing assertions that show their values."""

from __future__ import annotations

import os

import pytest

pytest.register_assert_rewrite("tests.support.mail_server_contract", "tests.support.mail_samples")


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    """The daemons are started as root and change to a user of their own; mail servers will not start otherwise."""
    if os.geteuid() != 0:
        raise PermissionError("the system tests have to be run as root: make system")
