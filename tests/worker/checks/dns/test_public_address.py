# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses that lead nowhere outside, however they are written."""

from __future__ import annotations

import pytest

from defang_worker.checks.dns.public_address import is_public


@pytest.mark.parametrize(
    ("address", "is_so"),
    [
        *((one, False) for one in ("::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "::10.0.0.1")),
        *((one, False) for one in ("fec0::1", "fe80::1", "fd00::1", "2002:a00:1::", "ff0e::1", "169.254.169.254")),
        *((one, True) for one in ("64:ff9b::8.8.8.8", "2606:4700::1", "8.8.8.8")),
    ],
)
def test_address_that_leads_into_the_site_is_none_however_it_is_written(address: str, is_so: bool) -> None:
    assert is_public(address) is is_so
