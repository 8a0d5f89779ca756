# SPDX-License-Identifier: GPL-3.0-or-later
"""What callbacks return that are about no mail: `Lookup` of a key in a table, and the failure of a command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from defang_common.wire.answers import LookupStatus

__all__ = ["CommandFailed", "Lookup", "LookupStatus"]


class CommandFailed(Exception):
    """Raised by `filter_unknown_command`: the command cannot be carried out; its text is shown as an error."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What came of looking a key up; made by `found`, `not_found`, `temporary`, `timeout` and `permanent`."""

    status: LookupStatus
    """`OK`, `NOT_FOUND`, `TEMP`, `TIMEOUT` or `PERM`."""
    text: str = ""
    """The value, or a reason."""

    @classmethod
    def found(cls, value: str) -> Lookup:
        """The key is there, with this value."""
        if not isinstance(value, str):
            raise TypeError(f"the value of a lookup is text, not {value!r:.100}")
        return cls(LookupStatus.OK, value)

    @classmethod
    def not_found(cls, text: str = "") -> Lookup:
        """The key is not there."""
        return cls(LookupStatus.NOT_FOUND, text)

    @classmethod
    def temporary(cls, text: str = "") -> Lookup:
        """It cannot be told now; the mail server defers the mail."""
        return cls(LookupStatus.TEMP, text)

    @classmethod
    def timeout(cls, text: str = "") -> Lookup:
        """It took too long; the mail server defers the mail."""
        return cls(LookupStatus.TIMEOUT, text)

    @classmethod
    def permanent(cls, text: str = "") -> Lookup:
        """It can never be told, for want of such a table perhaps."""
        return cls(LookupStatus.PERM, text)


NO_SUCH_MAP: Final = Lookup.permanent("no such map")
"""What a filter without tables says."""
