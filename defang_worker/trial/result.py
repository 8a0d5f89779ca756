# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of one message that a filter was tried on.

Values only; `play.py` makes them, `report.py` and `as_json.py` show them, and a filter's tests assert on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from defang_worker.effects.contract import LetterKind
from defang_worker.trial.delivered import DeliveredMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from defang_worker.api.headers import Headers
    from defang_worker.api.part import Part
    from defang_worker.effects.contract import Letter, PublishedFile, QuarantineEntry
    from defang_worker.mime.defects import Defect
    from defang_worker.trial.mta_message import Change

_PASSED_ON: Final = (LetterKind.COPY, LetterKind.RELEASE)


class Fate(StrEnum):
    """What the client is told in the end, in one word."""

    ACCEPT = "accept"
    REJECT = "reject"
    TEMPFAIL = "tempfail"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRecipient:
    """A recipient that the filter did not let pass, and the reply."""

    address: str
    verdict: Fate
    code: int
    dsn: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a filter could not do its work: one line that names callback, file and line, and the traceback."""

    text: str
    traceback: str


@dataclass(slots=True, kw_only=True)
class Timing:
    """How often one callback was called, and how long it took in all."""

    calls: int = 0
    elapsed_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome for one message."""

    stage: str
    """Where the final answer was given: relay, helo, sender, recipient or message."""
    verdict: Fate
    code: int
    """The SMTP reply code; at relay the mail server chooses its own."""
    dsn: str
    reply: str
    """The reply's text as the client reads it; empty for an accepted message, for which the mail server has its own."""
    came: bytes
    """The message as it came."""
    delivered: bytes | None
    """The message as the mail server delivers it, with the line ends of the one that came; None if it does not."""
    sender: str
    """The envelope sender in the end."""
    recipients: tuple[str, ...]
    """The envelope recipients in the end."""
    changes: tuple[Change, ...]
    """What the mail server is asked for in header, body and envelope, in order."""
    refused: tuple[RefusedRecipient, ...]
    """Recipients that were refused while others were accepted."""
    held: str | None
    """Why the mail server keeps the message back in its own quarantine; None if it does not."""
    quarantined: tuple[QuarantineEntry, ...]
    """What would be stored in the quarantine: `files` by name, and where."""
    letters: tuple[Letter, ...]
    """The mails that would be sent, copies for other recipients too; see `notifications`."""
    published: tuple[PublishedFile, ...]
    """The files that would be shown to the world."""
    lines: tuple[tuple[str, str], ...]
    """Event lines and records, each with the file or facility that it would go to."""
    warnings: tuple[str, ...]
    """What the readers are told."""
    defects: tuple[Defect, ...]
    """What is malformed or ambiguous about the message."""
    log: tuple[str, ...]
    """The log lines of filter and worker."""
    fault: Fault | None
    """Why the filter failed, None if it did not."""
    timings: Mapping[str, Timing]
    """By callback."""
    elapsed_ms: float
    """The worker's time for all requests of this message."""

    @property
    def modified(self) -> bool:
        """Whether the message that is delivered differs from the one that came."""
        return self.delivered is not None and self.delivered != self.came

    @property
    def notifications(self) -> tuple[Letter, ...]:
        """Those of the mails that tell somebody something, rather than pass the message on."""
        return tuple(letter for letter in self.letters if letter.kind not in _PASSED_ON)

    @property
    def message(self) -> DeliveredMessage:
        """The delivered message, parsed; raises ValueError if none is."""
        if self.delivered is None:
            raise ValueError(f"nothing is delivered: {self.verdict} {self.code} {self.reply}".rstrip())
        return DeliveredMessage(self.delivered)

    @property
    def headers(self) -> Headers:
        """The header of the delivered message, with `get`, `all` and so on; raises ValueError if none is delivered."""
        return self.message.headers

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts with a body of the delivered message; raises ValueError if none is delivered."""
        return self.message.parts
