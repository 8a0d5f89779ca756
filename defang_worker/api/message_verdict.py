# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs of `Message` that say what becomes of it as a whole: verdict, the MTA's quarantine, sender, recipients, and
what another mail server is told of it.

They only record, in the journal.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, cast

from defang_common.wire.results import Quarantine
from defang_worker.api.verdicts import Response, Verdict
from defang_worker.api.words import to_bytes

if TYPE_CHECKING:
    from defang_worker.api.envelope import Envelope
    from defang_worker.api.journal import Journal
    from defang_worker.api.message import Message
    from defang_worker.api.message_mail import Resent
    from defang_worker.api.settings import Settings
    from defang_worker.checks.check import Check
    from defang_worker.checks.outcome import CheckResult
    from defang_worker.checks.runner import Results
    from defang_worker.checks.spam.result import SpamResult

_log: Final = logging.getLogger("defang.worker")


class MessageVerdict:
    """The first verdict stands, later ones are only logged."""

    __slots__ = ()

    envelope: Envelope
    journal: Journal
    settings: Settings
    resent: Resent | None

    @property
    def verdict(self) -> Response | None:
        """The verdict that stands, or None."""
        return self.journal.verdict

    @property
    def is_rejected(self) -> bool:
        """Whether the message has been rejected, deferred or discarded."""
        return self.journal.verdict is not None

    def reject(self, reply: str = "", *, code: int = 554, dsn: str = "5.7.1") -> None:
        """Refuses the message for good; `reply` is what the client gets to read."""
        self.decide(Response.reject(reply, code=code, dsn=dsn))

    def tempfail(self, reply: str = "", *, code: int = 451, dsn: str = "4.3.0") -> None:
        """Refuses the message for now: the client keeps it and tries again."""
        self.decide(Response.tempfail(reply, code=code, dsn=dsn))

    def discard(self) -> None:
        """Accepts the message towards the client, and delivers it to nobody."""
        self.decide(Response.discard())

    def decide(self, verdict: Response) -> None:
        """Takes a final response as the message's verdict; raises ValueError for one that is not final."""
        if not verdict.is_final:
            raise ValueError(f"{verdict.verdict.name} is no verdict on a message")
        if self.resent is not None and verdict.verdict is Verdict.REJECT:
            # Its client is our own mail system, which would send a bounce to a sender that may be forged.
            _log.info("a resent copy is discarded instead of rejected: %s", verdict)
            verdict = Response.discard()
        if not self.journal.guard.allows(f"Message.{verdict.verdict.name.lower()}"):
            return
        if not self.journal.decide(verdict):
            _log.info("the first verdict stands, not taken: %s", verdict)
            return
        # The front end logs the reply with the envelope; here is who gave it.
        _log.info("%s: %s %s", self.journal.guard.stage, verdict.verdict.name.lower(), verdict.reply)
        if correction := verdict.correction():
            _log.warning("%s", correction)

    def run_checks(self, *checks: Check[Message, Any]) -> Results:
        """Asks what these checks ask, side by side, all of a message within `Settings.check_budget_s`; their results.

        None given means those of the settings. If one cannot tell, its failure policy says what becomes of the message:
        it is deferred unless the filter decides otherwise, or marked in its header, or nothing. Raises ValueError for
        two checks of one name.
        """
        from defang_worker.api import run_checks  # noqa: PLC0415  # for filters that check

        return run_checks.of_message(cast("Message", self), checks or self.settings.checks)

    def mta_quarantine(self, reason: str) -> None:
        """Has the MTA keep the message back: Sendmail in its quarantine, Postfix in the hold queue."""
        text = " ".join(reason.split())
        if not text:
            raise ValueError("a quarantine needs a reason")
        if self.journal.guard.allows("Message.mta_quarantine"):
            self.journal.record(Quarantine(reason=to_bytes(text)))

    @property
    def is_quarantined(self) -> bool:
        """Whether the MTA has been asked to keep the message back."""
        return self.journal.is_quarantined

    def add_recipient(self, address: str) -> None:
        """Adds an envelope recipient; `envelope.recipients` still shows those that came."""
        self.envelope.add_recipient(address)

    def delete_recipient(self, address: str) -> None:
        """Removes an envelope recipient, named exactly as in `envelope.recipients`."""
        self.envelope.delete_recipient(address)

    def set_sender(self, address: str) -> None:
        """Changes the envelope sender; the last call counts."""
        self.envelope.set_sender(address)

    # Header

    def add_spam_score_header(self, result: SpamResult, *, name: str = "X-Spam-Score", always: bool = False) -> None:
        """Marks spam by the classic field, `6.8 (******) NAMES`, for readers' rules; with `always` other mail, too.

        Fields of that name that came with the message are deleted in any case, for a sender may have put them there.
        """
        if not self.journal.guard.allows("Message.add_spam_score_header"):
            return
        headers = cast("Message", self).headers
        headers.delete_all(name)
        if result.summary and (always or result.is_found):
            headers.add(name, result.summary)

    def add_authentication_results(self, *results: CheckResult, smtp_auth: bool = False) -> None:
        """Writes Authentication-Results (RFC 8601) on top of the header, of checks that have something for it: SPF,
        DKIM, DMARC, ARC, BIMI, the client's name; with `smtp_auth` also as whom the client has logged in.

        Fields that came in the names of this site (`authserv_id`, `authserv_aliases`) are deleted, unless the client is
        one of `authserv_relays`. Raises TypeError for a result that tells nothing about authentication.
        """
        if self.journal.guard.allows("Message.add_authentication_results"):
            from defang_worker.api import authentication  # noqa: PLC0415  # for filters that authenticate

            authentication.add_results(cast("Message", self), results, smtp_auth=smtp_auth)

    def own_authentication_results(self) -> str:
        """What the Authentication-Results fields in the name of this site say, as one value; for `ArcSealer`.

        Forged ones are deleted first, as by `add_authentication_results`.
        """
        from defang_worker.api import authentication  # noqa: PLC0415  # for filters that authenticate

        if not self.journal.guard.allows("Message.own_authentication_results"):
            return authentication.no_results(cast("Message", self))
        return authentication.own_results(cast("Message", self))

    def add_relay_header(self) -> None:
        """Adds a field that tells the site's next mail server the client's address, signed (`relay_key_file`).

        For a secondary mail server. Raises ValueError without a key, or if the client has no address.
        """
        if self.journal.guard.allows("Message.add_relay_header"):
            from defang_worker import relay_header  # noqa: PLC0415

            envelope = self.envelope
            value = relay_header.value(self.settings, envelope.client_ip, envelope.queue_id or "", envelope.sender)
            envelope.headers.add(relay_header.FIELD_NAME, value)
