# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter asked for, in order, until it is written to RESULTS in one go.

Callbacks only record here; nothing reaches the MTA before the last callback has ended well. The first verdict stands:
a refused message is not changed, so of everything else only quarantine requests go with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from defang_common.wire.answers import Verdict
from defang_common.wire.results import Quarantine
from defang_worker.api.stages import Guard

if TYPE_CHECKING:
    from defang_common.wire.results import Result
    from defang_worker.api.verdicts import Response


class Journal:
    """Envelope edits, quarantine requests and the verdict of one message or one check; `guard` knows where that is."""

    __slots__ = ("_entries", "guard", "is_deferred", "verdict")

    def __init__(self) -> None:
        self.guard = Guard()
        self._entries: list[Result] = []
        self.verdict: Response | None = None
        self.is_deferred = False
        """Whether the verdict is only that of `defer`."""

    def record(self, entry: Result) -> None:
        """Adds one change."""
        self._entries.append(entry)

    @property
    def is_quarantined(self) -> bool:
        """Whether a quarantine was asked for."""
        return any(isinstance(entry, Quarantine) for entry in self._entries)

    @property
    def comes_again(self) -> bool:
        """Whether the verdict has the client keep the message, and send it again."""
        return self.verdict is not None and self.verdict.verdict is Verdict.TEMPFAIL

    def decide(self, verdict: Response) -> bool:
        """Takes the message's verdict; False if there was one already, which then stays."""
        if self.verdict is not None and not self.is_deferred:
            return False
        self.verdict, self.is_deferred = verdict, False
        return True

    def defer(self, verdict: Response) -> None:
        """Takes a verdict that counts if nobody decides otherwise: what could not be checked does not pass."""
        if self.verdict is None:
            self.verdict, self.is_deferred = verdict, True

    def results(self, changes: list[Result]) -> list[Result]:
        """The lines for RESULTS without the closing `F`: these entries, then `changes` of headers and body.

        With a verdict only quarantine requests remain, and they stand before it, for nothing behind it counts.
        """
        if self.verdict is None:
            return self._entries + changes
        held: list[Result] = [entry for entry in self._entries if isinstance(entry, Quarantine)]
        return [*held, self.verdict.to_result()]
