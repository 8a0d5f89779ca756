# SPDX-License-Identifier: GPL-3.0-or-later
"""`Outbox`: what a filter wants done outside of a message's working directory, until the scan has it carried out.

`store` comes before RESULTS is written: what a filter dropped is on disk by then. `send` comes after it, when nothing
but the mails themselves can fail any more. Whatever fails defers the message, and `take_back` removes what was
quarantined of it, for its client sends it again.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from defang_worker.effects.contract import EffectFailed, LetterKind

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.api.quarantine import KeptPart
    from defang_worker.effects.contract import Effects, Letter, PublishedFile

_log: Final = logging.getLogger("defang.worker")

# Of a scan with all its mails: below the multiplexor's usual busy timeout of 120 s, so that a mail system that hangs
# is told as a failure. The worker would else be killed, and the message blamed for it.
_SCAN_S: Final = 100.0
# What is left for mails to a filter that took longer, of a site with a longer timeout.
_LEAST_SENDING_S: Final = 20.0


class Notice:
    """What one of the notices of a message will say: all texts that its callbacks gave, under the first subject."""

    __slots__ = ("preamble", "subject", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.subject = ""
        self.preamble = True


class Outbox:
    """The wishes of one message; most have none."""

    __slots__ = (
        "entry_path",
        "events",
        "groups",
        "is_wanted",
        "is_whole_kept",
        "kept_parts",
        "letters",
        "notices",
        "published",
        "reasons",
    )

    def __init__(self) -> None:
        self.is_wanted = False
        """Whether there is anything to do."""
        self.published: list[PublishedFile] = []
        self.kept_parts: list[KeptPart] = []
        self.is_whole_kept = False
        self.reasons: list[str] = []
        """Why the whole message was quarantined."""
        self.notices: dict[LetterKind, Notice] = {}
        self.letters: list[Letter] = []
        self.groups: list[tuple[str, ...]] = []
        """Recipients without brackets, a copy of the message as it came for each group."""
        self.entry_path = ""
        """Where the quarantined things lie, once they do."""
        self.events: list[str] = []
        """Lines for the event log."""

    def publish(self, file: PublishedFile) -> None:
        """Wants a file published."""
        self.is_wanted = True
        self.published.append(file)

    def keep_message(self, reason: str) -> None:
        """Wants the whole message quarantined."""
        self.is_wanted = self.is_whole_kept = True
        if reason:
            self.reasons.append(reason)

    def keep_part(self, part: KeptPart) -> None:
        """Wants the copy of a part quarantined."""
        self.is_wanted = True
        self.kept_parts.append(part)

    def notify(self, kind: LetterKind, text: str, subject: str, *, preamble: bool = True) -> None:
        """Wants the text in the notice of that kind."""
        self.is_wanted = True
        notice = self.notices.setdefault(kind, Notice())
        notice.texts.append(text)
        notice.subject = notice.subject or subject
        notice.preamble = notice.preamble and preamble

    def mail(self, letter: Letter) -> None:
        """Wants a mail of the filter's own making submitted."""
        self.is_wanted = True
        self.letters.append(letter)

    def copy_to(self, groups: list[tuple[str, ...]]) -> None:
        """Wants a copy of the message submitted for each group of recipients."""
        self.is_wanted = True
        self.groups.extend(groups)

    def store(self, message: Message, effects: Effects) -> None:
        """Puts onto disk what has to be there before the message goes on. Raises EffectFailed."""
        if self.is_whole_kept or self.kept_parts:
            # Most messages have nothing of this kind.
            from defang_worker.api import quarantine  # noqa: PLC0415

            self.entry_path = effects.quarantine(quarantine.entry(message))
            _log.warning("quarantined in %s: %s", self.entry_path, "; ".join(quarantine.all_reasons(self)))
        for file in self.published:
            effects.publish(file)

    def send(self, message: Message, effects: Effects) -> None:
        """Submits all mails: those for people first, then the copies. Raises EffectFailed, for being late too."""
        from defang_worker.api import copies, notices  # noqa: PLC0415

        until = max(message.envelope.began_at + _SCAN_S, time.monotonic() + _LEAST_SENDING_S)
        for letter in [*notices.letters(message), *self.letters]:
            effects.submit(letter, until)
            _log.info("%s submitted for %s", letter.kind.value, ", ".join(letter.recipients))
        if self.groups and message.journal.comes_again:
            _log.info("no copies: the message is deferred and will come again")
        elif self.groups:
            effects.submit_copies(*copies.letters(message, effects.secret()), until)

    def take_back(self, effects: Effects) -> None:
        """Removes what was quarantined of a message that is deferred after all."""
        if self.entry_path:
            # If that fails too, an entry too many is left, and the first fault is what counts.
            with suppress(EffectFailed):
                effects.forget(self.entry_path)
                self.entry_path = ""

    def log(self, effects: Effects, target: str) -> None:
        """Writes the event lines, once the message is done with."""
        for line in self.events:
            effects.write_line(target, line)
