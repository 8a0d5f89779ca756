# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of a message in quarantine: which files, with which content; `effects.store` writes them.

File names and what is in them are MIMEDefang's, for scripts that read them, and `meta.json` beside them
(`docs/quarantine.md`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from defang_common.wire.spool import INPUTMSG
from defang_worker.api.words import to_bytes, unfolded
from defang_worker.effects.contract import QuarantineEntry

if TYPE_CHECKING:
    from defang_worker.api.envelope import Envelope
    from defang_worker.api.message import Message
    from defang_worker.api.outbox import Outbox
    from defang_worker.api.part import Part
    from defang_worker.mime.headers import Buffer

META_VERSION: Final = 1
"""Rises when a reader of meta.json would misread it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPart:
    """A copy of a part as it was when the filter asked for it."""

    reason: str
    number: str
    content_type: str
    filename: str
    header: bytes
    body: bytes

    @classmethod
    def of(cls, part: Part, reason: str) -> KeptPart:
        """The part as it is now; of a container with all that is in it."""
        header = "".join(f"{name}: {value}\n" for name, value in part.headers.items())
        return cls(
            reason=reason,
            number=part.number,
            content_type=part.content_type,
            filename=part.filename,
            header=to_bytes(header),
            body=part.data,
        )


def entry(message: Message) -> QuarantineEntry:
    """The directory for a message, with what its outbox wants kept and the facts about it."""
    envelope, outbox = message.envelope, message.outbox
    # Local time: the original's names are in it, and whoever looks for an entry knows the time of day.
    time = datetime.now(UTC).astimezone()
    files: dict[str, Buffer] = {
        "SENDER": _lines([envelope.sender]),
        "SENDMAIL-QID": _lines([envelope.queue_id or ""]),
        "RECIPIENTS": _lines([recipient.address for recipient in envelope.recipients]),
        "HEADERS": b"".join(
            b"%s: %s\n" % (name, to_bytes(unfolded(value))) for name, value in message.headers_as_they_came()
        ),
    }
    if outbox.reasons:
        files["MSG.0"] = _lines(outbox.reasons)
    for number, part in enumerate(outbox.kept_parts, 1):
        files[f"PART.{number}.HEADERS"] = part.header
        files[f"PART.{number}.BODY"] = part.body
        files[f"MSG.{number}"] = _lines([part.reason])
    files["meta.json"] = json.dumps(_facts(message, time), indent=1).encode() + b"\n"
    same_as = {"ENTIRE_MESSAGE": f"{envelope.directory}/{INPUTMSG}"} if outbox.is_whole_kept else {}
    return QuarantineEntry(directory=message.settings.quarantine_dir, time=time, files=files, same_as=same_as)


def all_reasons(outbox: Outbox) -> list[str]:
    """Why something was quarantined: the message, then each part."""
    return [*outbox.reasons, *(part.reason for part in outbox.kept_parts)]


def _lines(texts: list[str]) -> bytes:
    return to_bytes("".join(text.rstrip("\n") + "\n" for text in texts))


def _facts(message: Message, time: datetime) -> dict[str, object]:
    envelope, outbox, verdict = message.envelope, message.outbox, message.verdict
    return {
        "version": META_VERSION,
        "time": time.isoformat(timespec="seconds"),
        "queue_id": envelope.queue_id or "",
        "sender": envelope.sender.bare,
        "sender_args": list(envelope.sender_args),
        "recipients": [recipient.address.bare for recipient in envelope.recipients],
        "relay": _relay(envelope),
        "subject": message.subject,
        "message_id": message.message_id,
        "size": message.size,
        "entire": outbox.is_whole_kept,
        "verdict": verdict.verdict.name.lower() if verdict else "accept",
        "reply": verdict.reply if verdict else "",
        "reasons": all_reasons(outbox),
        "parts": [_part(number, part) for number, part in enumerate(outbox.kept_parts, 1)],
        "warnings": list(message.warnings),
        "defects": [
            {"name": defect.name, "severity": defect.severity.name.lower(), "part": defect.part}
            for defect in (message.defects if message.is_parsed else ())
        ],
    }


def _part(number: int, part: KeptPart) -> dict[str, object]:
    return {
        "file": f"PART.{number}.BODY",
        "number": part.number,
        "content_type": part.content_type,
        "filename": part.filename,
        "size": len(part.body),
        "sha256": hashlib.sha256(part.body).hexdigest(),
        "reason": part.reason,
    }


def _relay(envelope: Envelope) -> dict[str, str]:
    return {
        "ip": envelope.client_ip,
        "name": envelope.client_name,
        "helo": envelope.helo,
        "connecting_ip": envelope.connecting_ip,
    }
