# SPDX-License-Identifier: GPL-3.0-or-later
"""The longest life of a worker, counted from its first request: what leaks, leaks with use. Called by `policy`."""

from defang_mux.pool.state import Slot


def why_too_old(slot: Slot, now: float, max_age_s: float) -> str | None:
    """The reason to end this worker, None if there is none; without a limit (0) there is never one."""
    if not max_age_s or slot.first_request_at is None or now - slot.first_request_at <= max_age_s:
        return None
    return f"Worker has exceeded maximum lifetime of {max_age_s:.0f} seconds"
