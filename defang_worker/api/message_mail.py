# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs of `Message` for what leaves the filter beside the message: quarantine, notices, copies, other mails.

They only record, in the outbox; `scan.py` has it carried out when the last callback has ended well. Nothing here is
loaded or worked out for filters that do not use it.
"""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from defang_worker.api.verdicts import Response
from defang_worker.effects.contract import Letter, LetterKind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.message import EmailMessage

    from defang_worker.api.envelope import Envelope
    from defang_worker.api.journal import Journal
    from defang_worker.api.message import Message
    from defang_worker.api.outbox import Outbox

_log: Final = logging.getLogger("defang.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """That a message is a copy which the filter itself had submitted, and what was known of the original."""

    client_ip: str
    """Of the client that had sent it; empty if unknown."""
    queue_id: str
    """Under which it had come; empty if unknown."""


class MessageMail:
    """What a filter may send, and what it may keep."""

    __slots__ = ()

    envelope: Envelope
    journal: Journal
    outbox: Outbox
    resent: Resent | None

    @property
    def _whole(self) -> Message:
        # Half of a Message is a Message whenever it is used; the type says so here, and nowhere else.
        return cast("Message", self)

    def quarantine(self, reason: str) -> None:
        """Keeps a copy of the whole message in the quarantine; whether it is delivered is another matter.

        Of a message that the filter itself defers at each try; not if only a check that could not tell defers it.
        """
        if self.journal.guard.allows("Message.quarantine"):
            self.outbox.keep_message(reason)

    @property
    def quarantine_reasons(self) -> tuple[str, ...]:
        """Why the message, or parts of it, will be in the quarantine."""
        return (*self.outbox.reasons, *(part.reason for part in self.outbox.kept_parts))

    def notify_sender(self, text: str, *, subject: str = "", preamble: bool = True) -> None:
        """Tells the envelope sender, in one mail for all calls, headed by which message it is about if `preamble`.

        Not sent to what must get no automatic answer (RFC 3834): the null sender, mailing lists, automatic and bulk
        mail; nor if the message is deferred, for it comes again.
        """
        self._notify("notify_sender", LetterKind.SENDER_NOTICE, text, subject, preamble=preamble)

    def notify_recipients(self, text: str, *, subject: str = "", preamble: bool = True) -> None:
        """Tells all envelope recipients, in one mail for all calls that does not show them to one another.

        Not sent if the message is deferred.
        """
        self._notify("notify_recipients", LetterKind.RECIPIENT_NOTICE, text, subject, preamble=preamble)

    def notify_admin(self, text: str, *, subject: str = "", preamble: bool = True) -> None:
        """Tells the administrator of the settings, in one mail for all calls.

        Of a message that the filter itself defers at each try; not if only a check that could not tell defers it.
        """
        self._notify("notify_admin", LetterKind.ADMIN_NOTICE, text, subject, preamble=preamble)

    def _notify(self, verb: str, kind: LetterKind, text: str, subject: str, *, preamble: bool) -> None:
        if self.journal.guard.allows(f"Message.{verb}"):
            self.outbox.notify(kind, text, subject, preamble=preamble)

    def send(self, mail: EmailMessage, recipients: Iterable[str], *, sender: str = "") -> None:
        """Sends a mail of one's own making, from the null sender if no other is given.

        Date, Message-ID and fields that tell it from a person's mail are added where missing; the caller's own mail
        stays as it is. Raises ValueError if there is no recipient.
        """
        if not self.journal.guard.allows("Message.send"):
            return
        from defang_worker.api import notices  # noqa: PLC0415

        to = tuple(map(_bare, recipients))
        if not to:
            raise ValueError("a mail needs a recipient")
        # A mail that is kept as a template would else have the date and Message-ID of the first message for ever.
        mail = deepcopy(mail)
        notices.add_usual_fields(mail, self._whole)
        self.outbox.mail(Letter(kind=LetterKind.MAIL, sender=_bare(sender), recipients=to, content=(mail.as_bytes(),)))

    def resend(self, recipients: Iterable[str]) -> None:
        """Submits a copy of the message as it came for these recipients, under its own envelope sender.

        The copy comes back to the filter as a message of its own, with `resent` set. What becomes of the original is
        another matter, but of a deferred one no copy is made, for it comes again. Nothing is done with a message that
        is such a copy itself.
        """
        if not self.journal.guard.allows("Message.resend"):
            return
        to = tuple(dict.fromkeys(map(_bare, recipients)))
        if not to:
            raise ValueError("a copy needs a recipient")
        if self.resent is not None:
            _log.warning("Message.resend: not done with what was resent already")
        else:
            self.outbox.copy_to([to])

    def stream_by_domain(self) -> bool:
        """Gives the recipients of each domain a message of their own; True if this one is done with.

        If there are recipients in several domains, a copy of the message as it came is submitted for each domain, this
        message is discarded, and no further callback is called. False if all are in one domain, as those of a copy are.
        """
        from defang_worker.api.copies import grouped  # noqa: PLC0415

        return self._stream("stream_by_domain", grouped(self.envelope.recipients, lambda one: one.domain))

    def stream_by_recipient(self) -> bool:
        """Gives each recipient a message of its own, like `stream_by_domain`; the same address counts once."""
        from defang_worker.api.copies import grouped  # noqa: PLC0415

        return self._stream("stream_by_recipient", grouped(self.envelope.recipients, str))

    def stream(self, groups: Iterable[Iterable[str]]) -> bool:
        """Gives each group of recipients a message of its own, like `stream_by_domain`.

        Raises ValueError if not every recipient is in exactly one group.
        """
        from defang_worker.api.copies import as_partition  # noqa: PLC0415

        return self._stream("stream", as_partition(self.envelope.recipients, groups))

    def _stream(self, verb: str, groups: list[tuple[str, ...]]) -> bool:
        if not self.journal.guard.allows(f"Message.{verb}") or len(groups) < 2 or self.resent is not None:
            return False
        if self.journal.is_deferred or not self.journal.decide(Response.discard()):
            _log.info("%s: not done, there is a verdict on the message", verb)
            return False
        self.outbox.copy_to(groups)
        self._whole.is_streamed = True
        return True

    def received_header(self) -> str:
        """The value of a Received field for the message's way to this host, as copies get one."""
        from defang_worker.api.copies import received  # noqa: PLC0415

        return received(self._whole, tuple(one.address.bare for one in self.envelope.recipients))


def _bare(address: str) -> str:
    text = address.strip()
    return text[1:-1].strip() if text.startswith("<") and text.endswith(">") else text
