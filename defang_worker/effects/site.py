# SPDX-License-Identifier: GPL-3.0-or-later
"""`SiteEffects`: does what filters want done, as the site has set it. The worker's server uses this one.

The modules that do the work are loaded when they are first needed; most messages have no effects at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from defang_worker.effects.contract import Letter, PublishedFile, QuarantineEntry

LEDGERS = ".streams"
"""The directory in the quarantine for what was handed over of messages that are not done with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteEffects:
    """Effects on the real world."""

    submit_to: str
    """The path of a program with sendmail's options, or host:port of an SMTP server."""
    state_dir: str
    """Where is kept what must outlive a message: the quarantine."""

    def secret(self) -> bytes:
        """The site's, out of its file."""
        from defang_worker.effects import secret  # noqa: PLC0415

        return secret.secret(self.state_dir)

    def quarantine(self, entry: QuarantineEntry) -> str:
        """Writes the entry to disk."""
        from defang_worker.effects import store  # noqa: PLC0415

        return store.quarantine(entry)

    def forget(self, path: str) -> None:
        """Removes the entry."""
        from defang_worker.effects import store  # noqa: PLC0415

        store.forget(path)

    def publish(self, file: PublishedFile) -> None:
        """Writes the file beside its place, and renames it."""
        from defang_worker.effects import store  # noqa: PLC0415

        store.publish(file)

    def write_line(self, target: str, line: str) -> None:
        """Writes the line."""
        from defang_worker.effects import lines  # noqa: PLC0415

        lines.append(target, line)

    def submit(self, letter: Letter, until: float) -> None:
        """Runs the program, or talks to the server."""
        from defang_worker.effects import submission  # noqa: PLC0415

        submission.submit(letter, self.submit_to, until)

    def submit_copies(self, letters: tuple[Letter, ...], ledger: str, until: float) -> None:
        """Submits one after the other, and notes each."""
        from defang_worker.effects import ledger as ledgers  # noqa: PLC0415

        path = f"{self.state_dir}/{LEDGERS}/{ledger}"
        ledgers.submit_all(letters, path, lambda letter: self.submit(letter, until))
