# SPDX-License-Identifier: GPL-3.0-or-later
"""`Message`: one message in a scan, with its facts, its parts, and what a filter may do with the whole of it.

Nothing is parsed or decoded before it is asked for, and nothing is rewritten unless a part was changed. The verbs
record; `scan.py` carries out. Here are its parts and its way through a scan; what it tells and what a filter may do
with it stand in `message_facts.py`, `message_verdict.py`, `message_body.py` and `message_mail.py`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from defang_worker.api.body import Body, header_results
from defang_worker.api.envelope import Envelope
from defang_worker.api.headers import Headers
from defang_worker.api.journal import Journal
from defang_worker.api.message_body import MessageBody
from defang_worker.api.message_facts import MessageFacts
from defang_worker.api.message_mail import MessageMail, Resent
from defang_worker.api.message_verdict import MessageVerdict
from defang_worker.api.outbox import Outbox
from defang_worker.api.part import Part
from defang_worker.api.state import States
from defang_worker.mime.parse import parse
from defang_worker.mime.protected import EditRefused
from defang_worker.mime.tree import Entity
from defang_worker.mime.views import examine
from defang_worker.workdir import read_begun_results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_common.wire.commands import Commands
    from defang_common.wire.results import Result
    from defang_worker.api.record import Record
    from defang_worker.api.settings import Settings
    from defang_worker.checks.budget import Budget
    from defang_worker.mime.defects import Defect, Severity
    from defang_worker.mime.headers import Buffer
    from defang_worker.mime.output import Rebuilt
    from defang_worker.mime.shadow import ShadowPart
    from defang_worker.mime.signatures import SignatureForecast
    from defang_worker.mime.tree import Tree
    from defang_worker.mime.views import Examination

_log: Final = logging.getLogger("defang.worker")


class Message(MessageFacts, MessageVerdict, MessageBody, MessageMail):
    """A message that has arrived whole. Facts are properties; verbs act on the message when the last callback is done.

    The first verdict (`reject`, `tempfail`, `discard`) stands, later ones are only logged. A verdict does not end the
    filtering: see `is_rejected`.
    """

    __slots__ = (
        "_commands",
        "_root",
        "_shadows",
        "_tree",
        "body",
        "check_budget",
        "envelope",
        "final_body",
        "headers",
        "is_streamed",
        "journal",
        "outbox",
        "raw",
        "record",
        "resent",
        "scratch",
        "settings",
    )

    def __init__(
        self, commands: Commands, raw: Buffer, directory: str, settings: Settings, states: States | None = None
    ) -> None:
        self._commands = commands
        self.settings = settings
        self.journal = Journal()
        self.body = Body(settings, self.journal.guard)
        self.outbox = Outbox()
        self.resent: Resent | None = None
        """Set if the message is a copy that the filter submitted, by `stream_by_domain` or `resend`."""
        self.is_streamed = False
        """Whether copies take the place of this message."""
        self.record: Record | None = None
        if settings.record_log:
            from defang_worker.api.record import Record  # noqa: PLC0415  # for sites that want records

            self.record = Record()
        self.final_body: Rebuilt | None = None
        self.check_budget: Budget | None = None
        """The time that all checks have, once one was run."""
        self._tree: Tree | None = None
        self._root: Part | None = None
        self._shadows: tuple[Part, ...] | None = None
        self.raw = raw
        """The whole message as it came, with LF line ends; bytes, or a memory map of the same use."""
        self.headers = Headers(
            self.headers_as_they_came, earlier=lambda: read_begun_results(directory), guard=self.journal.guard
        )
        """The header fields of the message itself, live and editable."""
        if settings.relay_key_file or settings.trusted_relays:
            from defang_worker import relay_header  # noqa: PLC0415  # for sites with more than one mail server

            commands.relayed_ip = relay_header.told_ip(commands, self.headers, settings)
        self.envelope = Envelope.of_commands(
            commands, directory, self.journal, self.headers, states=states or States(), settings=settings
        )
        """Who sends to whom, and from where."""
        self.scratch: dict[str, object] = {}
        """The filter's own, for the length of this message."""

    # Parts

    @property
    def root(self) -> Part:
        """The message as a part: its only one, or the container of all others."""
        if self._root is None:
            self._root = Part(self, self._parsed().root, None)
        return self._root

    @property
    def is_parsed(self) -> bool:
        """Whether anybody has looked at the parts yet."""
        return self._tree is not None

    def _parsed(self) -> Tree:
        if self._tree is None:
            self._tree = parse(self.raw, self.settings.limits)
            if self._tree.limit_exceeded is not None:
                # What was not looked at may not pass; a sender gains nothing by trying again.
                _log.warning("message refused, over the limit for %s", self._tree.limit_exceeded)
                self.reject("The structure of this message is too complex to be examined")
        return self._tree

    def walk(self) -> Iterator[Part]:
        """All parts that are still there, each container before its children, the root first."""
        waiting = [self.root]
        while waiting:
            part = waiting.pop()
            if not part.is_dropped:
                yield part
                waiting.extend(reversed(part.children))

    def leaves(self) -> Iterator[Part]:
        """All parts with a body that are still there."""
        return (part for part in self.walk() if part.is_leaf)

    def find(self, content_type: str, *, into_messages: bool = False) -> Part | None:
        """The first part of that type that is still there, or None; one in an attached message only if asked for.

        Signed and encrypted parts are entered, which `append_text` and the like do not.
        """
        waiting = [self.root]
        while waiting:
            part = waiting.pop()
            if part.content_type == content_type and not part.is_dropped:
                return part
            if not part.is_dropped and (part.is_multipart or into_messages):
                waiting.extend(reversed(part.children))
        return None

    @property
    def shadow_parts(self) -> tuple[Part, ...]:
        """Parts that only other readings of the message have, and files inside of contents; see `Part.is_shadow`."""
        if self._shadows is None:
            parts: dict[Entity, Part] = {}
            waiting = [self.root]
            while waiting and self.examination.shadows:
                part = waiting.pop()
                if isinstance(part.entity, Entity):
                    parts[part.entity] = part
                waiting.extend(part.children)
            self._shadows = tuple(Part(self, one, parts.get(one.host)) for one in self.examination.shadows)
        return self._shadows

    # Defects

    @property
    def examination(self) -> Examination:
        """What is wrong with the message, and in how many ways it can be read. Ordinary mail has nothing."""
        return examine(self._parsed())

    @property
    def defects(self) -> tuple[Defect, ...]:
        """What is malformed or ambiguous about the message and all its parts, the worst first."""
        return self.examination.defects

    @property
    def worst_defect(self) -> Severity:
        """The highest severity among the defects, INFO if there are none."""
        return self.examination.worst

    def defects_of(self, entity: Entity | ShadowPart) -> tuple[Defect, ...]:
        """What is wrong with one entity; for `Part`."""
        examine(self._parsed())
        return entity.defects

    # Body

    def signature_forecast(self) -> SignatureForecast:
        """Which DKIM, S/MIME and PGP signatures will be valid after all that was asked for so far; needs no DNS."""
        from defang_worker.api.forecast import forecast  # noqa: PLC0415  # few filters ask

        return forecast(self, self._parsed())

    def as_delivered(self) -> bytes:
        """The message as all that was asked for so far makes it, header and body, with LF line ends: what recipients
        get, but for fields that the mail server and `defang-milter` add. In `filter_wrapup` it can be signed.

        Blanks around a field's colon become one behind it. A body that cannot be changed as asked is the one that came.
        """
        from defang_worker.api import delivery  # noqa: PLC0415  # few filters sign

        return delivery.as_delivered(self, self._parsed())

    @property
    def newline(self) -> bytes:
        """The line end of the message as it came."""
        return self._parsed().newline

    # Log

    def log_event(self, event: str, *values: object, per_message: bool = False) -> None:
        """Writes a line for each recipient to the event log, or one for the message: event, values, envelope, subject.

        The lines are MIMEDefang's (MDLOG), whose readers know two values. They are written when the message is done
        with; one that is deferred for a fault leaves none. Nothing happens without the setting `event_log`, but that
        the record has the event, too.
        """
        if not self.journal.guard.allows("Message.log_event"):
            return
        if self.record is not None:
            self.record.events.append([event, *map(str, values)])
        if self.settings.event_log:
            from defang_worker.api import event_lines  # noqa: PLC0415

            self.outbox.events += event_lines.lines(
                log_id=self.log_id,
                event=event,
                values=values,
                sender=self.envelope.sender,
                recipients=[one.address for one in self.envelope.recipients],
                subject=self._commands.subject,
                per_message=per_message,
            )

    # For scan.py

    @property
    def known_parts(self) -> list[Part]:
        """All parts that have been looked for, those that were dropped too, without a multipart on top."""
        if self._tree is None:
            return []
        found: list[Part] = []
        waiting = list(reversed(self.root.children)) if self.root.is_multipart else [self.root]
        while waiting:
            part = waiting.pop()
            found.append(part)
            waiting.extend(reversed(part.children))
        return [*found, *self.shadow_parts]

    @property
    def known_defects(self) -> tuple[Defect, ...]:
        """What is malformed, if the parts have been looked for."""
        return () if self._tree is None else self.defects

    def refused_for_structure(self) -> bool:
        """Parses the message; whether that alone was its end."""
        self._parsed()
        return self.is_rejected

    def finish_body(self) -> Rebuilt | None:
        """Ends all changes of the body; gives the new one, or None if the old one stays."""
        if self.body.one_reading and not self.is_rejected:
            from defang_worker.api import ambiguity  # noqa: PLC0415  # for malformed mail

            ambiguity.warn_of_removed(self)
        if not self.is_rejected and self.settings.inline_warnings and self.body.warnings:
            from defang_worker.api import additions  # noqa: PLC0415  # a site's choice

            self.body.warnings_told = additions.warnings(self, self.body.warning_intro, self.body.warnings)
        self.body.end_changes()
        if self.is_rejected or not self.body.is_changed:
            return None
        try:
            self.final_body = self.body.rebuild(self._parsed())
        except EditRefused as refusal:
            _log.warning("message refused, it cannot be changed as the filter wants: %s", refusal)
            self.reject("This message cannot be made safe to deliver", dsn="5.6.0")
        return self.final_body

    def results(self, rebuilt: Rebuilt | None) -> list[Result]:
        """The lines for RESULTS, without the closing `F`."""
        if self.is_rejected:
            self.outbox.published.clear()  # nobody gets a link to it
        changes = [] if rebuilt is None else header_results(rebuilt)
        return self.journal.results(changes + self.headers.changes())
