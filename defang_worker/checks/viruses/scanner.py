# SPDX-License-Identifier: GPL-3.0-or-later
"""What all virus scanners do alike: choose what is scanned, leave out what is too large, and make one result of all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import Outcome
from defang_worker.checks.viruses.items import Item, items_of
from defang_worker.checks.viruses.result import Infection, VirusResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from defang_worker.api.message import Message

__all__ = ["DEFAULT_MAX_BYTES", "Findings", "Selection", "result_of"]

DEFAULT_MAX_BYTES: Final = 25 * 1024 * 1024
"""The largest thing that is scanned. Debian's clamd has this limit (MaxFileSize, StreamMaxLength), and calls what is
beyond it clean unless `AlertExceedsMax` is set."""


class Selection:
    """What of a message is scanned, and what is too large for it."""

    __slots__ = ("items", "max_bytes", "too_large")

    def __init__(self, message: Message, *, parts: bool, max_bytes: int) -> None:
        found = items_of(message, parts=parts)
        self.max_bytes = max_bytes
        self.items = [item for item in found if len(item.data) <= max_bytes]
        self.too_large = [item for item in found if len(item.data) > max_bytes]


class Findings:
    """The viruses that a service has named so far: they stay found if it cannot tell of the rest."""

    __slots__ = ("_infections", "_selection")

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        # Each once: what one service has named, the next may name again.
        self._infections: set[Infection] = set()

    def add(self, virus: str, item: Item) -> None:
        """Something was found in this item."""
        self._infections.add(Infection(virus, item.part))

    @contextmanager
    def kept(self, faults: list[str]) -> Iterator[None]:
        """Makes one more of the faults of what is raised within, if something has been found by then."""
        try:
            yield
        except (CouldNotTell, OSError) as fault:
            if not self._infections:
                raise
            faults.append(str(fault) or type(fault).__name__)

    def result(self, name: str, faults: Sequence[str]) -> VirusResult:
        """The result of all, as `result_of` has it."""
        order = {item.part: number for number, item in enumerate(self._selection.items)}
        infections = sorted(self._infections, key=lambda one: (order[one.part], one.name))
        return result_of(name, self._selection, infections, faults)


def result_of(name: str, selection: Selection, infections: Sequence[Infection], faults: Sequence[str]) -> VirusResult:
    """The result of a scan with these findings, and these reasons why something could not be scanned.

    Raises CouldNotTell with them if nothing was found.
    """
    unscanned = [*faults, *(_too_large(item, selection.max_bytes) for item in selection.too_large)]
    why = "; ".join(dict.fromkeys(unscanned))
    if infections:
        found = tuple(infections)
        detail = ", ".join(dict.fromkeys(one.name for one in found))
        return VirusResult(check=name, outcome=Outcome.FOUND, detail=detail, infections=found, unchecked=why)
    if why:
        raise CouldNotTell(why)
    return VirusResult(check=name, outcome=Outcome.NOT_FOUND)


def _too_large(item: Item, max_bytes: int) -> str:
    what = f"part {item.part}" if item.part else "the message"
    return f"{what} is too large to be scanned: {len(item.data)} bytes, limit {max_bytes}"
