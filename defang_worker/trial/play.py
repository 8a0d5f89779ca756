# SPDX-License-Identifier: GPL-3.0-or-later
"""One message through a filter, from connect to delivery: the parts of front end and mail server are played here.

The worker itself is the real one, asked by request lines over files in a working directory, so that whatever would
fail in service fails here.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from defang_common.wire import answers, requests, results
from defang_common.wire.answers import Answer, Verdict
from defang_common.wire.body import Body
from defang_common.wire.commands import Letter, encode_line
from defang_common.wire.errors import WireError
from defang_common.wire.header import Header
from defang_common.wire.spool import COMMANDS, INPUTMSG, NEWBODY, RESULTS
from defang_common.wire.state import Carried
from defang_worker.effects.recorded import RecordedEffects
from defang_worker.log_lines import QueueIdFormatter
from defang_worker.loop import Worker
from defang_worker.mime.parse import parse
from defang_worker.mime.views import examine
from defang_worker.status import StatusTags
from defang_worker.trial import mta_message as mta
from defang_worker.trial.mail_file import MailFile
from defang_worker.trial.result import Fate, Fault, RefusedRecipient, Result
from defang_worker.trial.session import Session, bracketed, raw, recipient_line
from defang_worker.trial.watching import LogCapture, Seen, WatchedFilter
from defang_worker.trial.wishes import wishes

if TYPE_CHECKING:
    from defang_common.wire.requests import Request
    from defang_worker.api.hooks import SiteFilter
    from defang_worker.mime.defects import Defect

_FATES: Final = {
    Verdict.CONTINUE: Fate.ACCEPT,
    Verdict.ACCEPT: Fate.ACCEPT,
    Verdict.REJECT: Fate.REJECT,
    Verdict.TEMPFAIL: Fate.TEMPFAIL,
    Verdict.DISCARD: Fate.DISCARD,
}

# What a front end has the client told when the worker did not do its work.
_FAULT: Final = answers.answer(Verdict.TEMPFAIL, b"The mail filter has a problem, please try again later")
_CONTINUE: Final = answers.answer(Verdict.CONTINUE)


class _Ended(Exception):
    """The client has its final answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


@dataclass(slots=True, kw_only=True)
class _Transaction:
    """The state of one message that is played."""

    session: Session
    source: MailFile
    message: mta.Message
    envelope: mta.Envelope
    directory: Path
    worker: Worker
    effects: RecordedEffects
    seen: Seen
    log: LogCapture
    carried: Carried = field(default_factory=Carried)
    stage: str = "relay"
    elapsed_s: float = 0.0
    fault: Fault | None = None
    changes: list[mta.Change] = field(default_factory=list)
    refused: list[RefusedRecipient] = field(default_factory=list)

    def ask(self, request: Request) -> bytes:
        """The worker's answer line; state goes with the request and comes back as it does in service."""
        line = self.carried.on_request(requests.encode(request)).removesuffix(b"\n")
        began_s = time.perf_counter()
        answer = self.worker.answer(line)
        self.elapsed_s += time.perf_counter() - began_s
        return self.carried.from_answer(answer)

    def check(self, stage: str, request: Request) -> Answer:
        """The worker's answer to a check; what is no answer is a fault, and a temporary failure."""
        self.stage = stage
        self.seen.answered = None
        try:
            answer = answers.decode(self.ask(request))
        except WireError:
            self.fault = self.log.fault
            return _FAULT
        if answer.verdict is Verdict.TEMPFAIL and self.seen.answered is not Verdict.TEMPFAIL:
            self.fault = self.log.fault
        return answer


def play(site: SiteFilter, data: bytes, session: Session, habits: mta.Habits = mta.SENDMAIL) -> Result:
    """What becomes of the message in `data`, the bytes of a file, if that filter is asked about it.

    Raises OSError if no working directory can be made.
    """
    source = MailFile.parse(data)
    seen, effects = Seen(), RecordedEffects()
    with tempfile.TemporaryDirectory(prefix="defang-trial-") as directory, LogCapture() as log:
        work = _Transaction(
            session=session,
            source=source,
            message=mta.Message.parse(source.content),
            envelope=mta.Envelope(sender=bracketed(session.sender), recipients=[]),
            directory=Path(directory),
            worker=Worker(WatchedFilter.of(site, seen, effects), StatusTags(None), QueueIdFormatter()),
            effects=effects,
            seen=seen,
            log=log,
        )
        delivered: mta.Message | None = None
        try:
            _greet(work)
            _address(work)
            answer = _scan(work)
        except _Ended as ended:
            answer = ended.answer
        if answer.verdict in (Verdict.CONTINUE, Verdict.ACCEPT):
            delivered = mta.apply_changes(work.message, work.envelope, work.changes, habits)
        # Before the directory goes: a large message is mapped from a file in it.
        return _result(work, answer, delivered)


def _greet(work: _Transaction) -> None:
    """Connect and HELO."""
    for stage, request in (("relay", work.session.relay_request()), ("helo", work.session.helo_request())):
        answer = work.check(stage, request)
        if answer.verdict is not Verdict.CONTINUE:
            raise _Ended(answer)


def _address(work: _Transaction) -> None:
    """MAIL, and RCPT for each recipient; ends if none is accepted."""
    session, directory = work.session, os.fsencode(work.directory)
    _append(work.directory / COMMANDS, session.commands())
    answer = work.check("sender", session.sender_request(directory))
    if answer.verdict is not Verdict.CONTINUE:
        raise _Ended(answer)
    asked = [bracketed(recipient) for recipient in session.recipients]
    for recipient in asked:
        answer = work.check("recipient", session.recipient_request(directory, recipient))
        match answer.verdict:
            case Verdict.ACCEPT | Verdict.DISCARD:
                # For the whole message, which an MTA then delivers or drops with the recipients that it has.
                work.envelope.recipients = asked
                raise _Ended(answer)
            case Verdict.CONTINUE:
                work.envelope.recipients.append(recipient)
                _append(work.directory / COMMANDS, recipient_line(recipient))
            case _:
                work.refused.append(_refused(recipient, answer))
    if not work.envelope.recipients:
        raise _Ended(answer)


def _refused(recipient: bytes, answer: Answer) -> RefusedRecipient:
    return RefusedRecipient(
        address=_text(recipient),
        verdict=_FATES[answer.verdict],
        code=int(answer.code),
        dsn=_text(answer.dsn),
        reply=_text(answer.text or b""),
    )


def _scan(work: _Transaction) -> Answer:
    """The content, and the filter's decision on it."""
    work.stage = "message"
    header, body = Header(None), Body(strip_bare_cr=False)
    for one in work.message.headers:
        header.add(one.name.rstrip(b" \t"), one.value)
    content = header.for_scan() + b"\n" + body.feed(work.message.body) + body.end()
    (work.directory / INPUTMSG).write_bytes(content)
    suspicious = [encode_line(Letter.SUSPICIOUS_BODY)] if body.suspicious else []
    _append(work.directory / COMMANDS, b"".join([*header.commands, *suspicious, encode_line(Letter.FINISHED)]))
    request = requests.Scan(queue_id=raw(work.session.queue_id), directory=os.fsencode(work.directory))
    if work.ask(request) != answers.SCAN_OK:
        work.fault = work.log.fault
        return _FAULT
    try:
        told = results.decode((work.directory / RESULTS).read_bytes())
    except WireError as error:
        work.fault = Fault(text=f"RESULTS cannot be applied: {error}", traceback="")
        return _FAULT
    new_body = work.directory / NEWBODY
    work.changes = wishes(told.changes, header, new_body.read_bytes() if new_body.exists() else b"")
    match told.verdict:
        case None:
            return _CONTINUE
        case results.Discard():
            return answers.answer(Verdict.DISCARD)
        case results.Bounce(code=code, dsn=dsn, text=text):
            return answers.answer(Verdict.REJECT, text, code, dsn)
        case results.Tempfail(code=code, dsn=dsn, text=text):
            return answers.answer(Verdict.TEMPFAIL, text, code, dsn)


def _result(work: _Transaction, answer: Answer, delivered: mta.Message | None) -> Result:
    fate = _FATES[answer.verdict]
    is_refusal = fate in (Fate.REJECT, Fate.TEMPFAIL)
    seen, envelope = work.seen, work.envelope
    held = [change.reason for change in work.changes if isinstance(change, mta.Quarantine)]
    return Result(
        stage=work.stage,
        verdict=fate,
        code=int(answer.code),
        dsn=_text(answer.dsn) if is_refusal else "2.0.0",
        reply=_text(answer.text or b"") if is_refusal else "",
        came=work.source.in_file(work.source.content),
        delivered=None if delivered is None else work.source.in_file(delivered.as_bytes()),
        sender=_text(envelope.sender),
        recipients=tuple(map(_text, envelope.recipients)),
        changes=tuple(change for change in work.changes if not isinstance(change, mta.Quarantine)),
        refused=tuple(work.refused) if work.stage == "message" else (),
        held=_text(held[-1]) if held else None,
        quarantined=tuple(work.effects.quarantined),
        letters=tuple(work.effects.letters),
        published=tuple(work.effects.published),
        lines=tuple(work.effects.lines),
        warnings=seen.message.warnings if seen.message is not None else (),
        defects=_defects(work),
        log=tuple(work.log.lines),
        fault=work.fault,
        timings=seen.timings,
        elapsed_ms=work.elapsed_s * 1000,
    )


def _defects(work: _Transaction) -> tuple[Defect, ...]:
    """Those of the message as the filter saw it; of one that it did not see, none were looked for."""
    if work.seen.message is not None:
        return work.seen.message.defects
    path = work.directory / INPUTMSG
    return examine(parse(path.read_bytes())).defects if path.exists() else ()


def _append(path: Path, lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(lines)


def _text(word: bytes) -> str:
    return word.decode("utf-8", "backslashreplace")
