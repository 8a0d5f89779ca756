# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter asks other services: viruses, spam, DNS, authentication. A filter imports from here what it uses.

A name is loaded when it is first asked for, with nothing but its own module: a worker whose filter uses one check does
not carry the others. How checks run together, and what a failure means, is told in docs/checks.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defang_worker.checks.check import Check, FailurePolicy
    from defang_worker.checks.outcome import CheckResult, Outcome
    from defang_worker.checks.runner import Results
    from defang_worker.checks.spam.result import SpamResult, Symbol
    from defang_worker.checks.spam.rspamd import Rspamd
    from defang_worker.checks.spam.rspamd_answer import RspamdResult
    from defang_worker.checks.spam.spamd import LearnResult, Spamd, SpamdLearn
    from defang_worker.checks.spam.spamd_wire import Lesson
    from defang_worker.checks.viruses.clamd import Clamd
    from defang_worker.checks.viruses.command import CommandScanner
    from defang_worker.checks.viruses.icap import Icap
    from defang_worker.checks.viruses.result import Infection, VirusResult

__all__ = [
    "Check",
    "CheckResult",
    "Clamd",
    "CommandScanner",
    "FailurePolicy",
    "Icap",
    "Infection",
    "LearnResult",
    "Lesson",
    "Outcome",
    "Results",
    "Rspamd",
    "RspamdResult",
    "SpamResult",
    "Spamd",
    "SpamdLearn",
    "Symbol",
    "VirusResult",
]

# Where each name lives. mypy reads the imports above, and a test holds the two together.
_HOMES = {
    "Check": "check",
    "CheckResult": "outcome",
    "Clamd": "viruses.clamd",
    "CommandScanner": "viruses.command",
    "FailurePolicy": "check",
    "Icap": "viruses.icap",
    "Infection": "viruses.result",
    "LearnResult": "spam.spamd",
    "Lesson": "spam.spamd_wire",
    "Outcome": "outcome",
    "Results": "runner",
    "Rspamd": "spam.rspamd",
    "RspamdResult": "spam.rspamd_answer",
    "SpamResult": "spam.result",
    "Spamd": "spam.spamd",
    "SpamdLearn": "spam.spamd",
    "Symbol": "spam.result",
    "VirusResult": "viruses.result",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
