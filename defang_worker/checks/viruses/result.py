# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virus scanner found: `VirusResult`, with an `Infection` for each thing scanned that has one."""

from __future__ import annotations

from dataclasses import dataclass

from defang_worker.checks.outcome import CheckResult

__all__ = ["Infection", "VirusResult"]


@dataclass(frozen=True, slots=True)
class Infection:
    """A virus, and where it is."""

    name: str
    """As the scanner calls it; `unknown` if it does not say."""
    part: str
    """The number of the part (`Part.number`); empty for the message as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirusResult(CheckResult):
    """The result of a virus scanner."""

    infections: tuple[Infection, ...] = ()
    """All that was found, in the order of the parts, the whole message first."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the viruses, each once."""
        return tuple(dict.fromkeys(one.name for one in self.infections))

    @property
    def parts(self) -> tuple[str, ...]:
        """The numbers of the parts that have one, each once; the whole message is none."""
        return tuple(dict.fromkeys(one.part for one in self.infections if one.part))

    def as_record(self) -> dict[str, object]:
        """With `names` and `parts` in the place of `infections`."""
        told = CheckResult.as_record(self)
        if told.pop("infections", None):
            told |= {"names": self.names, "parts": self.parts}
        return told
