# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests of a filter: build a message, run the filter on it, look at what became of it.

docs/testing-filters.md shows how; pytest finds `run_filter` and `new_message` as fixtures by itself.
"""

from defang_worker.testing.builder import MessageBuilder
from defang_worker.testing.running import FilterFailed, look_up, run_command, run_filter, run_tick
from defang_worker.trial.result import Fate, Fault, RefusedRecipient, Result, Timing
from defang_worker.trial.session import Session

__all__ = [
    "Fate",
    "Fault",
    "FilterFailed",
    "MessageBuilder",
    "RefusedRecipient",
    "Result",
    "Session",
    "Timing",
    "look_up",
    "run_command",
    "run_filter",
    "run_tick",
]
