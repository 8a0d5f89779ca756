# SPDX-License-Identifier: GPL-3.0-or-later
"""`RecordedEffects`: notes what a filter wants done and does none of it, for trying a filter and for tests."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from defang_worker.effects.contract import Letter, PublishedFile, QuarantineEntry


class RecordedEffects:
    """Effects that only leave a note, in order."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self.quarantined: list[QuarantineEntry] = []
        self.published: list[PublishedFile] = []
        self.lines: list[tuple[str, str]] = []
        """Targets and lines of logs."""
        self.letters: list[Letter] = []
        """Notices and copies alike; `kind` tells them apart."""

    def secret(self) -> bytes:
        """One of its own, that no other mail is marked with."""
        return self._secret

    def quarantine(self, entry: QuarantineEntry) -> str:
        """Notes the entry, and gives the path that it might get."""
        self.quarantined.append(entry)
        return f"{entry.directory}/{entry.time:%Y-%m-%d-%H}/qdir-{entry.time:%Y-%m-%d-%H.%M.%S}-001"

    def forget(self, path: str) -> None:  # noqa: ARG002  # the contract's
        """Takes back the last note."""
        self.quarantined.pop()

    def publish(self, file: PublishedFile) -> None:
        """Notes the file."""
        self.published.append(file)

    def write_line(self, target: str, line: str) -> None:
        """Notes the line."""
        self.lines.append((target, line))

    def submit(self, letter: Letter, until: float) -> None:  # noqa: ARG002  # the contract's
        """Notes the letter."""
        self.letters.append(letter)

    def submit_copies(self, letters: tuple[Letter, ...], ledger: str, until: float) -> None:  # noqa: ARG002
        """Notes the letters."""
        self.letters.extend(letters)
