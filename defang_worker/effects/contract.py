# SPDX-License-Identifier: GPL-3.0-or-later
"""The effects by name: `Effects`, what carries them out, and the values that it is given.

The values are complete: who carries one out decides nothing. Every method raises `EffectFailed` if it could not do all
that it was asked to; the message is then deferred, so that its client keeps it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from defang_worker.mime.headers import Buffer


class EffectFailed(Exception):
    """Something could not be stored, published or submitted; the text names it and the cause."""


def left_s(until: float) -> float:
    """The seconds until that moment of `time.monotonic`; raises TimeoutError if it has passed."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time is left")
    return left


class LetterKind(StrEnum):
    """What a mail of ours is for; the value is the word in logs and in what is shown of a trial."""

    SENDER_NOTICE = "sender-notice"
    ADMIN_NOTICE = "admin-notice"
    RECIPIENT_NOTICE = "recipient-notice"
    QUARANTINE_REPORT = "quarantine-report"
    COPY = "copy"
    RELEASE = "release"
    MAIL = "mail"
    """Of the filter's own making."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A mail to submit, with its envelope."""

    kind: LetterKind
    sender: str
    """Without angle brackets; empty for the null sender."""
    recipients: tuple[str, ...]
    """Without angle brackets; at least one."""
    content: tuple[Buffer, ...]
    """Header and body in pieces, with LF line ends."""
    mail_args: tuple[str, ...] = ()
    """ESMTP arguments of MAIL, as the client gave them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineEntry:
    """A directory to be made in the quarantine, with its files by name."""

    directory: str
    """The quarantine."""
    time: datetime
    """Local time, which the directory is named for."""
    files: Mapping[str, Buffer]
    same_as: Mapping[str, str] = field(default_factory=dict)
    """Files with the content of a file that is there already, by its path; nobody changes those any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A file to be shown to the world, such as an attachment that a message has only a link to."""

    directory: str
    name: str
    content: Buffer


class Effects(Protocol):
    """Carries out what filters want done."""

    def secret(self) -> bytes:
        """What our own mail is marked with, so that it is known when it comes back."""

    def quarantine(self, entry: QuarantineEntry) -> str:
        """Stores the entry; the path of its directory. All of it is on disk then."""

    def forget(self, path: str) -> None:
        """Removes an entry that `quarantine` has made for a message that is deferred after all."""

    def publish(self, file: PublishedFile) -> None:
        """Makes the file appear whole, readable for all; one that is there stays, and counts as new."""

    def write_line(self, target: str, line: str) -> None:
        """Appends the line to a file, or to the system log by "syslog:FACILITY". Does not fail: see `lines.py`."""

    def submit(self, letter: Letter, until: float) -> None:
        """Hands one mail to the mail system, by a moment of `time.monotonic`."""

    def submit_copies(self, letters: tuple[Letter, ...], ledger: str, until: float) -> None:
        """Hands over all of them, leaving out those that an earlier try under the same ledger name handed over."""
