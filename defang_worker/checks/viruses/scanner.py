# SPDX-License-Identifier: GPL-3.0-or-later
"""What all virus scanners do alike: choose what is scanned, leave out what is too large, and make one result of all."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import Outcome
from defang_worker.checks.service import ServiceCheck
from defang_worker.checks.viruses.items import Item, items_of
from defang_worker.checks.viruses.result import Infection, VirusResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.message import Message
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job

__all__ = ["DEFAULT_MAX_BYTES", "Findings", "ItemScanner", "Selection", "result_of"]

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

    def __bool__(self) -> bool:
        return bool(self._infections)

    def result(self, name: str, faults: Sequence[str]) -> VirusResult:
        """The result of all, as `result_of` has it."""
        order = {item.part: number for number, item in enumerate(self._selection.items)}
        infections = sorted(self._infections, key=lambda one: (order[one.part], one.name))
        return result_of(name, self._selection, infections, faults)


class ItemScanner(ServiceCheck["Message", VirusResult]):
    """A scanner that is shown one item after the other, over a connection, and names what is in it."""

    result_type = VirusResult

    def __init__(
        self, name: str, addresses: str | Sequence[str], *, parts: bool, max_bytes: int, **limits: Any
    ) -> None:
        super().__init__(name, addresses, max_bytes=max_bytes, **limits)
        self.parts = parts

    def prepare(self, subject: Message) -> Job[VirusResult]:
        """Decodes what is to be scanned."""
        selection = Selection(subject, parts=self.parts, max_bytes=self.max_bytes)
        return lambda deadline: self._scan(selection, deadline)

    def _scan(self, selection: Selection, deadline: Deadline) -> VirusResult:
        items, findings = selection.items, Findings(selection)
        try:
            faults = self.endpoints.call(lambda address, until: self.ask(address, items, findings, until), deadline)
        except (CouldNotTell, OSError) as fault:
            if not findings:
                raise
            faults = [str(fault) or type(fault).__name__]
        return findings.result(self.name, faults)

    @abstractmethod
    def ask(self, address: str, items: Sequence[Item], findings: Findings, deadline: Deadline) -> list[str]:
        """Adds what is found, and gives the reasons why it cannot be told of some items."""


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
