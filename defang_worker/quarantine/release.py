# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent when an entry is released: the message as it came, or a new mail with it attached.

Both carry the mark by which the worker knows them and lets them pass; the worker deletes it (`effects.seal`).
"""

from __future__ import annotations

import json
import os
import secrets
import time
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from email.utils import localtime, make_msgid
from typing import TYPE_CHECKING, Final

from defang_worker.api.words import to_bytes
from defang_worker.effects import seal
from defang_worker.effects.contract import Letter, LetterKind
from defang_worker.mime import compose
from defang_worker.quarantine.entries import ENTIRE, RELEASED_FILE, NoEntry

if TYPE_CHECKING:
    from defang_worker.api.settings import Settings
    from defang_worker.quarantine.entries import Entry

_SUBJECT: Final = "Released from quarantine"
_POLICY: Final = default.clone(cte_type="7bit")


def original(entry: Entry, secret: bytes, to: tuple[str, ...]) -> Letter:
    """The message as it came, from its sender; raises NoEntry if it was not kept."""
    if ENTIRE not in entry.files:
        raise NoEntry(f"{entry.name}: only parts of the message were kept; --attach sends them in a new mail")
    return _sealed(entry, entry.read(ENTIRE), secret, to, sender=entry.facts["sender"])


def attached(entry: Entry, secret: bytes, to: tuple[str, ...], settings: Settings, subject: str) -> Letter:
    """A mail of the filter's with the message attached, or with the parts if only they were kept."""
    facts = entry.facts
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = f"{settings.daemon_name} <{settings.daemon}>"
    mail["To"] = "undisclosed-recipients:;"
    mail["Subject"] = " ".join((subject or f"{_SUBJECT}: {_clean(facts['subject'])}").split())
    mail["Date"] = localtime()
    mail["Message-ID"] = make_msgid(domain=settings.daemon.rpartition("@")[2] or "localhost")
    mail["Auto-Submitted"] = "auto-generated"
    mail["MIME-Version"] = "1.0"
    text = f"This was kept in quarantine, and has been released by {settings.admin}.\n\n"
    text += f"  Sender: {facts['sender']}\n  Subject: {facts['subject']}\n  Received: {facts['time']}\n"
    entities = [compose.text_entity(_clean(text)), *_attachments(entry)]
    boundary = f"=_{secrets.token_hex(16)}"
    # Not by the email package: it would write the attached message anew.
    header = mail.as_bytes().rstrip(b"\n") + f'\nContent-Type: multipart/mixed; boundary="{boundary}"\n\n'.encode()
    delimiter = f"--{boundary}\n".encode()
    body = b"".join(delimiter + entity.rstrip(b"\n") + b"\n" for entity in entities) + f"--{boundary}--\n".encode()
    return _sealed(entry, header + body, secret, to, sender="")


def _attachments(entry: Entry) -> list[bytes]:
    if ENTIRE in entry.files:
        content = entry.read(ENTIRE)
        return [compose.entity("message/rfc822", content, filename="released.eml", disposition="attachment")]
    return [
        compose.entity(
            "application/octet-stream",
            entry.read(part["file"]),
            filename=_clean(part.get("filename") or part["file"]),
            disposition="attachment",
        )
        for part in entry.facts["parts"]
    ]


def _sealed(entry: Entry, content: bytes, secret: bytes, to: tuple[str, ...], *, sender: str) -> Letter:
    recipients = to or tuple(dict.fromkeys(entry.facts["recipients"]))
    if not recipients:
        raise NoEntry(f"{entry.name}: no recipients are known; --to names some")
    made = seal.Seal(
        kind=LetterKind.RELEASE,
        time_s=int(time.time()),
        client_ip=entry.facts["relay"].get("ip", ""),
        queue_id=entry.facts["queue_id"],
    )
    is_eight_bit = not content.isascii()
    return Letter(
        kind=LetterKind.RELEASE,
        sender=sender,
        recipients=recipients,
        content=(seal.field(made, secret, seal.digest(content)), content),
        mail_args=("BODY=8BITMIME",) if is_eight_bit else (),
    )


def note(entry: Entry, letter: Letter) -> None:
    """Notes in the entry that it was released. Raises OSError."""
    told = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "to": letter.recipients, "from": letter.sender}
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(f"{entry.path}/{RELEASED_FILE}", flags, 0o640)
    try:
        os.write(descriptor, json.dumps(told).encode() + b"\n")
    finally:
        os.close(descriptor)


def _clean(text: str) -> str:
    return to_bytes(text).decode("utf-8", "replace")
