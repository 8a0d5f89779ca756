# SPDX-License-Identifier: GPL-3.0-or-later
"""An MTA for tests, demo and benchmark: plays whole SMTP transactions to a milter.

`Milter.send` tells what an MTA would make of one message: verdict, SMTP reply, changes, the message as delivered.
Bytes everywhere. Single callbacks are in `milter_connection.py`; how changes act on a message is in `message.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from defang_worker.trial.mta_message import POSTFIX, SENDMAIL, Change, Envelope, Habits, Message, apply_changes
from tests.support.milter_connection import CLIENT, NO_MACROS, Client, Macros, MilterConnection
from tests.support.milter_packets import (
    BODY_CHUNK_BYTES,
    CONTINUE,
    EVERYTHING,
    LEADING_SPACE,
    Answer,
    MilterClosedError,
    MilterError,
    MilterGarbageError,
    MilterTimeoutError,
    Offer,
    Reply,
    Stage,
    Verdict,
)

__all__ = [
    "CONTINUE",
    "POSTFIX",
    "SENDMAIL",
    "Answer",
    "Client",
    "Habits",
    "Message",
    "Milter",
    "MilterClosedError",
    "MilterError",
    "MilterGarbageError",
    "MilterTimeoutError",
    "Offer",
    "Outcome",
    "Reply",
    "Stage",
    "Verdict",
    "send",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one message.

    `stage` gave the final answer; `code` is the SMTP reply code that the client sees. `changes` are the milter's
    requests in order, also those that came before a refusal.
    `message` and `envelope` are what the MTA delivers; `message` is None if nothing is. `refused` has the answers to
    recipients that were not accepted.
    """

    stage: Stage
    verdict: Verdict
    code: int
    reply: Reply | None
    changes: tuple[Change, ...]
    message: Message | None
    envelope: Envelope
    refused: Mapping[bytes, Answer]
    progress_packets: int

    @property
    def delivered(self) -> bool:
        return self.message is not None


@dataclass(slots=True, kw_only=True)
class _Transaction:
    """The state of one `send`."""

    message: Message
    envelope: Envelope
    macros: Mapping[Stage, Macros]
    habits: Habits
    progress_before: int
    changes: list[Change] = field(default_factory=list)
    refused: dict[bytes, Answer] = field(default_factory=dict)


class Milter(MilterConnection):
    """A connection to a milter over which whole messages are played."""

    def __init__(self, address: str, *, timeout_s: float = 60.0, offer: Offer = EVERYTHING) -> None:
        super().__init__(address, timeout_s=timeout_s, offer=offer)
        self._greeted: Answer | None = None

    def quit_nc(self) -> None:
        super().quit_nc()
        self._greeted = None

    def send(
        self,
        message: bytes | Message,
        *,
        sender: bytes = b"<sender@example.com>",
        recipients: Sequence[bytes] = (b"<rcpt@example.org>",),
        queue_id: bytes = b"Q0000001",
        client: Client = CLIENT,
        mail_arguments: Sequence[bytes] = (),
        macros: Mapping[Stage, Macros] | None = None,
        habits: Habits = SENDMAIL,
    ) -> Outcome:
        """Play one message through the milter, with connect and HELO if they were not said yet on this connection.

        Addresses carry their angle brackets. `macros` come on top of Sendmail's usual ones. A connection that the
        milter refused or accepted at connect or HELO gives that outcome for every message until `quit_nc`.
        """
        parsed = Message.parse(message) if isinstance(message, bytes) else message
        work = _Transaction(
            message=parsed,
            envelope=Envelope(sender=sender, recipients=list(recipients)),
            macros=_usual_macros(queue_id, sender, client, habits, macros or {}),
            habits=habits,
            progress_before=self.progress_packets,
        )
        answer = self._greet(client, work.macros)
        if answer.verdict is Verdict.CONTINUE:
            answer = self._play(work, mail_arguments)
        return self._outcome(work, answer)

    def _greet(self, client: Client, macros_of: Mapping[Stage, Macros]) -> Answer:
        if self._greeted is None:
            self._greeted = self.connect(client, macros_of[Stage.CONNECT])
            if self._greeted.verdict is Verdict.CONTINUE and client.helo is not None:
                self._greeted = self.helo(client.helo, macros_of[Stage.HELO])
        return self._greeted

    def _play(self, work: _Transaction, mail_arguments: Sequence[bytes]) -> Answer:
        """MAIL to end of message; at a final answer before the end the message is aborted."""
        answer = self.mail(work.envelope.sender, mail_arguments, work.macros[Stage.MAIL])
        if answer.verdict is Verdict.CONTINUE:
            answer = self._recipients(work)
        if answer.verdict is Verdict.CONTINUE:
            answer = self.data(work.macros[Stage.DATA])
        if answer.verdict is Verdict.CONTINUE:
            answer = self._content(work)
        if answer.verdict is not Verdict.CONTINUE:
            self.abort()
            return answer
        answer, work.changes = self.eom(work.macros[Stage.EOM])
        if work.habits.aborts_after_message:
            self.abort()
        return answer

    def _recipients(self, work: _Transaction) -> Answer:
        """RCPT for each; the last refusal counts if none was accepted."""
        answer = CONTINUE
        asked, work.envelope.recipients = work.envelope.recipients, []
        for recipient in asked:
            own = {b"{rcpt_mailer}": b"local", b"{rcpt_host}": b"", b"{rcpt_addr}": recipient.strip(b"<>")}
            known = work.macros[Stage.DATA] if work.envelope.recipients and work.habits.late_queue_id else NO_MACROS
            answer = self.rcpt(recipient, macros={**own, **known, **work.macros[Stage.RCPT]})
            if answer.verdict in (Verdict.ACCEPT, Verdict.DISCARD):
                return answer
            if answer.verdict is Verdict.CONTINUE:
                work.envelope.recipients.append(recipient)
            else:
                work.refused[recipient] = answer
        return CONTINUE if work.envelope.recipients else answer

    def _content(self, work: _Transaction) -> Answer:
        with_leading_space = self.steps & LEADING_SPACE
        for header in work.message.headers:
            value = header.after_colon.replace(b"\r\n", b"\n") if with_leading_space else header.value
            answer = self.header(header.name.rstrip(b" \t"), value)
            if answer.verdict is not Verdict.CONTINUE:
                return answer
        answer = self.eoh(work.macros[Stage.EOH])
        body = work.message.body
        for at in range(0, len(body), BODY_CHUNK_BYTES):
            if answer.verdict is not Verdict.CONTINUE:
                break
            answer = self.body(body[at : at + BODY_CHUNK_BYTES])
        return CONTINUE if answer.verdict is Verdict.SKIP else answer

    def _outcome(self, work: _Transaction, answer: Answer) -> Outcome:
        message: Message | None = None
        verdict = answer.verdict
        if verdict in (Verdict.CONTINUE, Verdict.ACCEPT):
            verdict = Verdict.ACCEPT
            message = apply_changes(work.message, work.envelope, work.changes, work.habits)
        return Outcome(
            stage=self._stage,
            verdict=verdict,
            code=self._smtp_code(answer, work.habits),
            reply=answer.reply,
            changes=tuple(work.changes),
            message=message,
            envelope=work.envelope,
            refused=work.refused,
            progress_packets=self.progress_packets - work.progress_before,
        )

    def _smtp_code(self, answer: Answer, habits: Habits) -> int:
        if answer.reply is not None:
            return answer.reply.code
        match answer.verdict:
            case Verdict.REJECT:
                with_content = self._stage in (Stage.HEADER, Stage.EOH, Stage.BODY, Stage.EOM)
                return habits.refusal_of_content if with_content else 550
            case Verdict.TEMPFAIL:
                return 451
            case _:
                return 250


def _usual_macros(
    queue_id: bytes, sender: bytes, client: Client, habits: Habits, extra: Mapping[Stage, Macros]
) -> dict[Stage, Macros]:
    """Sendmail's default macros of each stage, and those of the caller over them."""
    known: Macros = {b"i": queue_id}
    usual: dict[Stage, Macros] = {
        Stage.CONNECT: {
            b"j": b"mx.example.org",
            b"_": b"%s [%s]" % (client.hostname, client.address),
            b"{daemon_name}": b"MTA",
            b"{daemon_port}": b"25",
            b"{if_name}": b"localhost",
            b"{if_addr}": b"127.0.0.1",
        },
        Stage.MAIL: {
            **(NO_MACROS if habits.late_queue_id else known),
            b"{mail_mailer}": b"esmtp",
            b"{mail_host}": b"example.com",
            b"{mail_addr}": sender.strip(b"<>"),
        },
        Stage.DATA: known,
        Stage.EOH: known,
        Stage.EOM: known,
    }
    return {stage: {**usual.get(stage, NO_MACROS), **extra.get(stage, NO_MACROS)} for stage in Stage}


def send(address: str, message: bytes | Message, *, timeout_s: float = 60.0, **how: object) -> Outcome:
    """One message over a connection of its own; the keywords are those of `Milter.send`."""
    with Milter(address, timeout_s=timeout_s) as milter:
        return milter.send(message, **how)  # type: ignore[arg-type]
