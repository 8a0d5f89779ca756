# SPDX-License-Identifier: GPL-3.0-or-later
"""What the multiplexor asks workers to keep themselves from: variables of their environment (protocol.md, Confinement).

PURE. Variables, because a worker program that does not know them is not disturbed by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from defang_common.wire.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

CPU_LIMIT: Final = "DEFANG_CPU_LIMIT_S"
WRITABLE: Final = "DEFANG_WRITABLE_DIRS"
DENIED_CALLS: Final = "DEFANG_DENY_SYSTEM_CALLS"
TOLD: Final = "DEFANG_TOLD"
"""Another process with the same filter has said what is missing: once is enough for workers that are alike."""

CALLS_ARE_KNOWN_FOR: Final = frozenset({"x86_64", "aarch64"})
"""Machines on which Defang's workers can deny system calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """`cpu_limit_s` is for each request, 0 for none. `writable`: Landlock is wanted, with these directories."""

    cpu_limit_s: int = 0
    writable: tuple[str, ...] | None = None
    deny_calls: bool = False

    def environment(self) -> dict[str, str]:
        """The variables that say so."""
        variables = {}
        if self.cpu_limit_s:
            variables[CPU_LIMIT] = str(self.cpu_limit_s)
        if self.writable is not None:
            variables[WRITABLE] = ":".join(self.writable)
        if self.deny_calls:
            variables[DENIED_CALLS] = "1"
        return variables


NOT_CONFINED: Final = Confinement()


def is_asked(environment: Mapping[str, str]) -> bool:
    """Whether anything is."""
    return not environment.keys().isdisjoint((CPU_LIMIT, WRITABLE, DENIED_CALLS))


def decode(environment: Mapping[str, str]) -> Confinement:
    """What is asked for; raises Malformed."""
    limit = environment.get(CPU_LIMIT, "0")
    # Nine digits of seconds are thirty years.
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9):
        raise Malformed(f"{CPU_LIMIT} is to be a number of seconds, not {limit!r:.50}")
    denied = environment.get(DENIED_CALLS, "")
    if denied not in {"", "1"}:
        raise Malformed(f"{DENIED_CALLS} is to be 1, not {denied!r:.50}")
    writable = environment.get(WRITABLE)
    if writable is None:
        return Confinement(cpu_limit_s=int(limit), deny_calls=bool(denied))
    directories = tuple(directory for directory in writable.split(":") if directory)
    for directory in directories:
        if not directory.startswith("/"):
            raise Malformed(f"{WRITABLE} is to have absolute paths, not {directory!r:.50}")
    return Confinement(cpu_limit_s=int(limit), writable=directories, deny_calls=bool(denied))
