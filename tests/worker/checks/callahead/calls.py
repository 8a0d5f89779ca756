# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that ask a server about the recipient of an envelope."""

from __future__ import annotations

import time
from typing import Any

from defang_worker.api.envelope import Envelope
from defang_worker.checks import CallAhead, CallAheadResult
from defang_worker.checks.budget import Budget
from defang_worker.checks.runner import run
from tests.worker.checks.envelopes import envelope


def asked(check: CallAhead, subject: Envelope | None = None) -> CallAheadResult:
    """What the check finds, whatever its failure policy."""
    (result,) = run([check], subject or envelope(), Budget.of(60.0, now=time.monotonic()))
    assert isinstance(result, CallAheadResult)
    return result


def call_ahead(servers: Any, **options: Any) -> CallAhead:
    """A check that waits long enough for a slow machine."""
    return CallAhead(servers, **({"timeout_s": 20.0} | options))
