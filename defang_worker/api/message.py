# SPDX-License-Identifier: GPL-3.0-or-later
"""`Message`: one message in a scan, with its facts, its parts, and what a filter may do with the whole of it.

Nothing is parsed or decoded before it is asked for, and nothing is rewritten unless a part was changed. The verbs
record; `scan.py` carries out. Long because it is all that filters call a message; what takes more than a few lines
stands in `additions.py`, `ambiguity.py`, `body.py` and `forecast.py`.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from defang_common.wire.results import Quarantine
from defang_worker.api.body import Body, header_results
from defang_worker.api.envelope import Envelope
from defang_worker.api.headers import Headers
from defang_worker.api.journal import Journal
from defang_worker.api.part import Part
from defang_worker.api.verdicts import Response
from defang_worker.api.words import to_bytes, to_text
from defang_worker.mime import compose
from defang_worker.mime.fields import decode_words
from defang_worker.mime.headers import Headers as EntityHeaders
from defang_worker.mime.headers import unfold
from defang_worker.mime.parse import parse
from defang_worker.mime.protected import EditRefused
from defang_worker.mime.tree import Entity, Limits
from defang_worker.mime.views import examine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_common.wire.commands import Commands
    from defang_common.wire.results import Result
    from defang_worker.api.settings import Settings
    from defang_worker.mime.defects import Defect, Severity
    from defang_worker.mime.headers import Buffer
    from defang_worker.mime.output import Rebuilt
    from defang_worker.mime.shadow import ShadowPart
    from defang_worker.mime.signatures import SignatureForecast
    from defang_worker.mime.tree import Tree
    from defang_worker.mime.views import Examination

_log: Final = logging.getLogger("defang.worker")

_HEADER_END: Final = re.compile(rb"\n\r*+\n")
_NO_QUEUE_ID: Final = "NOQUEUE"


class Message:
    """A message that has arrived whole. Facts are properties; verbs act on the message when the last callback is done.

    The first verdict (`reject`, `tempfail`, `discard`) stands, later ones are only logged. A verdict does not end the
    filtering: see `is_rejected`.
    """

    __slots__ = (
        "_commands",
        "_root",
        "_settings",
        "_shadows",
        "_tree",
        "body",
        "envelope",
        "headers",
        "journal",
        "raw",
        "scratch",
    )

    def __init__(self, commands: Commands, raw: Buffer, directory: str, settings: Settings) -> None:
        self._commands = commands
        self._settings = settings
        self.journal = Journal()
        self.body = Body(settings)
        self._tree: Tree | None = None
        self._root: Part | None = None
        self._shadows: tuple[Part, ...] | None = None
        self.raw = raw
        """The whole message as it came, with LF line ends; bytes, or a memory map of the same use."""
        self.headers = Headers(self.headers_as_they_came)
        """The header fields of the message itself, live and editable."""
        self.envelope = Envelope.of_commands(commands, directory, self.journal, self.headers)
        """Who sends to whom, and from where."""
        self.scratch: dict[str, object] = {}
        """The filter's own, for the length of this message."""

    # Facts

    @property
    def size(self) -> int:
        """The length of the message as it came, in bytes."""
        return len(self.raw)

    @property
    def subject(self) -> str:
        """The first Subject, decoded; empty if there is none."""
        found = self.headers.raw("Subject")
        return decode_words(unfold(found[0])) if found else ""

    @property
    def message_id(self) -> str:
        """The Message-ID as given, with its angle brackets; empty if there is none."""
        return self.headers.get("Message-ID", "") or ""

    @property
    def log_id(self) -> str:
        """What names the message in logs: the queue ID, else the Message-ID, else NOQUEUE."""
        return self.envelope.queue_id or to_text(self._commands.message_id) or _NO_QUEUE_ID

    @property
    def suspicious_headers(self) -> bool:
        """Whether a header field came with a carriage return that ends no line."""
        return self._commands.suspicious_headers

    @property
    def suspicious_body(self) -> bool:
        """Whether the body came with a carriage return that ends no line, or with a NUL."""
        return self._commands.suspicious_body

    def headers_as_they_came(self) -> list[tuple[bytes, bytes]]:
        """The header fields of the message, name and raw value, whatever the filter has made of them since."""
        if self._tree is not None:
            headers = self._tree.root.headers
        else:
            match = _HEADER_END.search(self.raw)
            end = match.start() + 1 if match else len(self.raw)
            headers = EntityHeaders(self.raw, 0, end, max_fields=Limits().max_header_fields)
        return [(field.name, self.raw[field.value_start : field.end].lstrip(b" ")) for field in headers.fields]

    # Parts

    @property
    def root(self) -> Part:
        """The message as a part: its only one, or the container of all others."""
        if self._root is None:
            self._root = Part(self, self._parsed().root, None)
        return self._root

    def _parsed(self) -> Tree:
        if self._tree is None:
            self._tree = parse(self.raw, self._settings.limits)
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

    # Verdict

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
        if not self.journal.decide(verdict):
            _log.info("the first verdict stands, not taken: %s", verdict)
        elif correction := verdict.correction():
            _log.warning("%s", correction)

    def mta_quarantine(self, reason: str) -> None:
        """Has the MTA keep the message back: Sendmail in its quarantine, Postfix in the hold queue."""
        text = " ".join(reason.split())
        if not text:
            raise ValueError("a quarantine needs a reason")
        self.journal.record(Quarantine(reason=to_bytes(text)))

    @property
    def is_quarantined(self) -> bool:
        """Whether the MTA has been asked to keep the message back."""
        return self.journal.is_quarantined

    # Envelope

    def add_recipient(self, address: str) -> None:
        """Adds an envelope recipient; `envelope.recipients` still shows those that came."""
        self.envelope.add_recipient(address)

    def delete_recipient(self, address: str) -> None:
        """Removes an envelope recipient, named exactly as in `envelope.recipients`."""
        self.envelope.delete_recipient(address)

    def set_sender(self, address: str) -> None:
        """Changes the envelope sender; the last call counts."""
        self.envelope.set_sender(address)

    # Body

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the readers will be told, in a text part of its own."""
        return tuple(self.body.warnings)

    def warn(self, text: str) -> None:
        """Adds a warning for the readers."""
        if self.body.may_change("Message.warn"):
            self.body.warnings.append(text)

    def append_text(self, text: str, *, all: bool = False, prepend: bool = False) -> int:  # noqa: A002
        """Adds a paragraph to the first text/plain that is shown, with `all` to every one, those in attached messages
        too; how many parts got it.

        Written in the charset of each part, which becomes UTF-8 if it lacks a character; before the text with
        `prepend`. Attachments, signed and encrypted parts are left alone, as are texts that could only be guessed at.
        """
        return self._add("Message.append_text", text, is_html=False, everywhere=all, prepend=prepend)

    def append_html(self, html: str, *, all: bool = False, prepend: bool = False) -> int:  # noqa: A002
        """Adds HTML at the end of the body (or its start) of the first text/html, or of all; like `append_text`."""
        return self._add("Message.append_html", html, is_html=True, everywhere=all, prepend=prepend)

    def _add(self, verb: str, text: str, *, is_html: bool, everywhere: bool, prepend: bool) -> int:
        if not self.body.may_change(verb):
            return 0
        from defang_worker.api import additions  # noqa: PLC0415  # for filters that add texts

        return additions.to_message(self, text, is_html=is_html, everywhere=everywhere, prepend=prepend)

    def remove_redundant_html(self) -> bool:
        """Drops the HTML wherever plain text stands beside it in a multipart/alternative; whether there was any."""
        if not self.body.may_change("Message.remove_redundant_html"):
            return False
        from defang_worker.api import additions  # noqa: PLC0415

        return additions.remove_redundant_html(self)

    def signature_forecast(self) -> SignatureForecast:
        """Which DKIM, S/MIME and PGP signatures will be valid after all that was asked for so far; needs no DNS."""
        from defang_worker.api.forecast import forecast  # noqa: PLC0415  # few filters ask

        return forecast(self, self._parsed())

    @property
    def takes_eight_bit(self) -> bool:
        """Whether the client announced 8-bit text (BODY=8BITMIME), so that new text may have it, too."""
        return any(word.upper() == "BODY=8BITMIME" for word in self.envelope.sender_args)

    @property
    def newline(self) -> bytes:
        """The line end of the message as it came."""
        return self._parsed().newline

    def add_part(
        self,
        content_type: str,
        content: str | bytes,
        *,
        filename: str = "",
        disposition: str = "inline",
        charset: str = "utf-8",
        index: int = -1,
    ) -> None:
        """Adds a part to the message: before the index-th of those that came (from 0), or with -1 at the end.

        Charset and transfer encoding are chosen to fit. A message that is no multipart/mixed becomes one.
        """
        if self.body.may_change("Message.add_part"):
            new = compose.entity(
                content_type,
                content,
                filename=filename,
                disposition=disposition,
                charset=charset,
                eight_bit=self.takes_eight_bit,
            )
            self.body.add(new, index)

    # For scan.py

    def refused_for_structure(self) -> bool:
        """Parses the message; whether that alone was its end."""
        self._parsed()
        return self.is_rejected

    def finish_body(self) -> Rebuilt | None:
        """Ends all changes of the body; gives the new one, or None if the old one stays."""
        if self.body.one_reading and not self.is_rejected:
            from defang_worker.api import ambiguity  # noqa: PLC0415  # for malformed mail

            ambiguity.warn_of_removed(self)
        if not self.is_rejected and self._settings.inline_warnings and self.body.warnings:
            from defang_worker.api import additions  # noqa: PLC0415  # a site's choice

            self.body.warnings_told = additions.warnings(self, self.body.warning_intro, self.body.warnings)
        self.body.is_final = True
        if self.is_rejected or not self.body.is_changed:
            return None
        try:
            return self.body.rebuild(self._parsed())
        except EditRefused as refusal:
            _log.warning("message refused, it cannot be changed as the filter wants: %s", refusal)
            self.reject("This message cannot be made safe to deliver", dsn="5.6.0")
            return None

    def results(self, rebuilt: Rebuilt | None) -> list[Result]:
        """The lines for RESULTS, without the closing `F`."""
        changes = [] if rebuilt is None else header_results(rebuilt)
        return self.journal.results(changes + self.headers.changes())
