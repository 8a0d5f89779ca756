# SPDX-License-Identifier: GPL-3.0-or-later
"""What all checks that ask a service refuse alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from defang_worker.checks import Clamd, CommandScanner, Icap, Rspamd, Spamd, SpamdLearn

SERVICES: dict[str, Callable[..., Any]] = {
    "clamd": Clamd,
    "icap": partial(Icap, "icap://127.0.0.1/scan"),
    "command": partial(CommandScanner, ["true"]),
    "spamd": Spamd,
    "learn": partial(SpamdLearn, lesson="spam"),
    "rspamd": Rspamd,
}


@pytest.mark.parametrize("make", SERVICES.values(), ids=SERVICES)
@pytest.mark.parametrize("max_bytes", [0, -1])
def test_a_limit_that_lets_nothing_through_is_refused(make: Callable[..., Any], max_bytes: int) -> None:
    assert make(max_bytes=1).max_bytes == 1
    with pytest.raises(ValueError, match=r"max_bytes is to be more than 0"):
        make(max_bytes=max_bytes)


@pytest.mark.parametrize("make", [Clamd, Spamd, Rspamd])
@pytest.mark.parametrize("address", ["localhost", "localhost:0", "::1:783", "run/socket"])
def test_an_address_that_is_none_is_refused(make: Callable[..., Any], address: str) -> None:
    with pytest.raises(ValueError, match="an address is an absolute path or host:port"):
        make(address)
