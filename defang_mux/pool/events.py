# SPDX-License-Identifier: GPL-3.0-or-later
"""What those are told who watch the pool: statistics, listeners, traces.

Made only if somebody watches, so that nothing of it costs on the path of a request. The pool gives out
`state.Moved`, in its place among the actions; the crew knows of the others.
"""

from collections.abc import Callable
from dataclasses import dataclass

from defang_mux.pool.state import Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A worker says what it is doing."""

    number: int
    tag: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutHit:
    """A worker is about to be ended because of the busy timeout."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RereadForced:
    """All workers are being replaced, so that the filter is read anew."""


Event = Moved | Tagged | TimeoutHit | RereadForced

Watch = Callable[[Event], None]
"""Somebody who is told; must not wait, and must not raise."""
