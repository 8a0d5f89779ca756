# SPDX-License-Identifier: GPL-3.0-or-later
"""`SpamResult`: score, threshold and rules, of whichever program judged the message, and the classic header of them.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from defang_worker.checks.outcome import CheckResult

__all__ = ["SpamResult", "Symbol"]

# More would tell nothing: mail readers' rules look for five, ten or twenty of them.
_MAX_STARS: Final = 40
# Where a field is folded (RFC 5322, section 2.2.3: 78 characters a line, the field's name being on the first).
_FOLD_AT_CHARS: Final = 60


class Symbol(NamedTuple):
    """A rule that matched."""

    name: str
    score: float | None = None
    """What it counts; None if the service does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpamResult(CheckResult):
    """What a spam checker says: FOUND if it is spam, NOT_APPLICABLE if the message was too large."""

    score: float | None = None
    """None if the message was not judged."""
    required: float | None = None
    """The threshold."""
    symbols: tuple[Symbol, ...] = ()
    """The rules that matched."""
    report: str = ""
    """For people: which rule means what. Empty if the service was not asked for it."""
    action: str = ""
    """What rspamd would do; SpamAssassin never says."""

    @property
    def names(self) -> str:
        """The names of the rules, with commas between."""
        return ",".join(symbol.name for symbol in self.symbols)

    @property
    def stars(self) -> str:
        """One star for each whole point, 40 at most."""
        return "*" * min(max(int(self.score or 0), 0), _MAX_STARS)

    @property
    def summary(self) -> str:
        """The value of the classic header field, `6.8 (******) NAMES`, folded if it is long; empty without a score."""
        if self.score is None:
            return ""
        lines = [f"{self.score:.1f} ({self.stars}) "]
        for number, symbol in enumerate(self.symbols):
            comma = "," if number else ""
            if len(lines[-1]) + len(symbol.name) > _FOLD_AT_CHARS:
                lines[-1] += comma
                lines.append("")
                comma = ""
            lines[-1] += comma + symbol.name
        return "\n\t".join(line.rstrip() for line in lines)

    def as_record(self) -> dict[str, Any]:
        """Without the report, which tells the symbols once more."""
        told = CheckResult.as_record(self)
        told.pop("report", None)
        return told
