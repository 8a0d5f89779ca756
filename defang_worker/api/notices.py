# SPDX-License-Identifier: GPL-3.0-or-later
"""The mails that a filter sends about a message: to its sender, its recipients, the administrator.

Automatic answers keep to RFC 3834: the null sender as envelope sender, Auto-Submitted, and none to what was itself
automatic, a mailing list's, or without a sender. Made by the standard library's email package.
"""

from __future__ import annotations

import logging
import re
import socket
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage
from email.policy import default
from email.utils import localtime, make_msgid
from typing import TYPE_CHECKING, Final

from defang_worker.api.quarantine import all_reasons
from defang_worker.api.words import to_bytes
from defang_worker.effects.contract import Letter, LetterKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.api.message import Message
    from defang_worker.api.outbox import Notice

_log: Final = logging.getLogger("defang.worker")

_SUBJECTS: Final = {
    LetterKind.SENDER_NOTICE: "About your mail",
    LetterKind.RECIPIENT_NOTICE: "About a mail to you",
    LetterKind.ADMIN_NOTICE: "Notice of the mail filter",
    LetterKind.QUARANTINE_REPORT: "Mail quarantined",
}
# LF line ends, as messages have them here; and no bytes over 127, for not every mail server on the way takes them.
_POLICY: Final = default.clone(cte_type="7bit")
# RFC 5322, section 3.6.4, as far as it is needed to answer to one.
_MESSAGE_ID: Final = re.compile(r"<[!-;=?-~]+@[!-;=?-~]+>")
# RFC 3834, section 2: what role and list addresses are called, beside the fields that say the same.
_AUTOMATIC_SENDER: Final = re.compile(
    r"(mailer-daemon|postmaster|no-?reply|listserv|majordomo|owner-.*|.*-(owner|request|bounces?|confirm))([+=].*)?",
    re.IGNORECASE,
)
_AUTOMATIC_PRECEDENCE: Final = frozenset({"bulk", "junk", "list"})
# A thread's last messages; the field would grow with every answer.
_MAX_REFERENCES: Final = 20
_NOBODY_SHOWN: Final = "undisclosed-recipients:;"


def letters(message: Message) -> Iterator[Letter]:
    """The notices that the message's outbox wants, those left out that must not be sent."""
    for kind, notice in message.outbox.notices.items():
        reason = _held_back(message, kind)
        if reason:
            _log.info("no %s: %s", kind.value, reason)
        else:
            yield _letter(message, kind, notice.subject, _text(message, kind, notice))
    if message.outbox.entry_path and message.settings.quarantine_report:
        yield _letter(message, LetterKind.QUARANTINE_REPORT, "", _report(message))


def why_not_answered(message: Message) -> str:
    """Why the message must get no automatic answer (RFC 3834, section 2); empty if it may."""
    sender, headers = message.envelope.sender, message.headers
    if not sender.bare:
        return "the envelope sender is null"
    if _AUTOMATIC_SENDER.fullmatch(sender.local_part) or sender.bare.lower() == message.settings.daemon.lower():
        return "the sender is no person"
    if headers.get("Auto-Submitted", "no").partition(";")[0].strip().lower() not in {"no", ""}:  # type: ignore[union-attr]
        return "the message was sent automatically"
    if (headers.get("Precedence") or "").strip().lower() in _AUTOMATIC_PRECEDENCE:
        return "its precedence forbids"
    if any(name.lower().startswith("list-") for name, _ in headers.items()):
        return "it came from a mailing list"
    if (headers.get("X-Auto-Response-Suppress") or "none").strip().lower() != "none":
        return "its sender wants no automatic answers"
    return ""


def _held_back(message: Message, kind: LetterKind) -> str:
    if kind is LetterKind.ADMIN_NOTICE:
        return ""
    if message.journal.comes_again:
        return "the message is deferred and will come again"
    return why_not_answered(message) if kind is LetterKind.SENDER_NOTICE else ""


def _letter(message: Message, kind: LetterKind, subject: str, text: str) -> Letter:
    settings, envelope = message.settings, message.envelope
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = _mailbox(settings.daemon_name, settings.daemon)
    if kind is LetterKind.SENDER_NOTICE:
        recipients: tuple[str, ...] = (envelope.sender.bare,)
        mail["To"] = _mailbox("", recipients[0])
    elif kind is LetterKind.RECIPIENT_NOTICE:
        # Who else got the message is not for all to know.
        recipients = tuple(dict.fromkeys(recipient.address.bare for recipient in envelope.recipients))
        mail["To"] = _NOBODY_SHOWN
    else:
        recipients = (settings.admin,)
        mail["To"] = _mailbox(settings.admin_name, settings.admin)
    mail["Subject"] = _one_line(subject or _SUBJECTS[kind])
    if kind in {LetterKind.SENDER_NOTICE, LetterKind.RECIPIENT_NOTICE}:
        _refer_to(mail, message)
    add_usual_fields(mail, message, is_reply=kind is LetterKind.SENDER_NOTICE)
    mail.set_content(text, charset="utf-8")
    return Letter(kind=kind, sender="", recipients=recipients, content=(mail.as_bytes(),))


def add_usual_fields(mail: EmailMessage, message: Message, *, is_reply: bool = False) -> None:
    """Adds date, Message-ID and what says that no person wrote it, as far as the mail has none."""
    host = message.envelope.macros.get("j") or socket.gethostname()
    fields = {
        "Date": localtime(),
        "Message-ID": make_msgid(domain=host),
        # RFC 3834, section 5.
        "Auto-Submitted": "auto-replied" if is_reply else "auto-generated",
        # For the many programs that look at this only, one of them Exchange.
        "Precedence": "bulk",
        "X-Auto-Response-Suppress": "All",
    }
    for name, value in fields.items():
        if name not in mail:
            mail[name] = value


def _mailbox(name: str, address: str) -> MailAddress | str:
    try:
        return MailAddress(display_name=_clean(name), addr_spec=address)
    except Exception:  # noqa: BLE001  # whatever its parser trips over: AttributeError, IndexError, and more
        # No address that a header field could hold; the envelope has it all the same.
        return _NOBODY_SHOWN


def _refer_to(mail: EmailMessage, message: Message) -> None:
    """RFC 3834, section 3.1.5 and RFC 5322, section 3.6.4."""
    own = _MESSAGE_ID.search(message.message_id)
    if own:
        mail["In-Reply-To"] = own[0]
        earlier = message.headers.get("References") or message.headers.get("In-Reply-To") or ""
        mail["References"] = " ".join([*_MESSAGE_ID.findall(earlier)[-_MAX_REFERENCES:], own[0]])


def _text(message: Message, kind: LetterKind, notice: Notice) -> str:
    preamble = []
    if notice.preamble and kind is not LetterKind.ADMIN_NOTICE:
        preamble = [f"Subject: {message.subject}", f"Message-ID: {message.message_id}"]
        if kind is LetterKind.SENDER_NOTICE:
            preamble += [f"To: {recipient.address.bare}" for recipient in message.envelope.recipients]
        else:
            preamble.insert(0, f"From: {message.envelope.sender}")
    elif notice.preamble:
        preamble = _about(message)
    head = "".join(f"  {_one_line(line)}\n" for line in preamble)
    return _clean("\n".join([head, *(text.rstrip("\n") + "\n" for text in notice.texts)]).lstrip("\n"))


def _about(message: Message) -> list[str]:
    envelope = message.envelope
    return [
        f"Queue ID: {envelope.queue_id or 'unknown'}",
        f"Relay: {envelope.client_name} [{envelope.client_ip}]",
        f"Sender: {envelope.sender}",
        *(f"Recipient: {recipient.address}" for recipient in envelope.recipients),
        f"Subject: {message.subject}",
        f"Message-ID: {message.message_id}",
    ]


def _report(message: Message) -> str:
    outbox = message.outbox
    kept = ["the whole message"] if outbox.is_whole_kept else []
    kept += [f"PART.{number}.BODY" for number in range(1, len(outbox.kept_parts) + 1)]
    lines = [f"Directory: {socket.gethostname()}:{outbox.entry_path}", f"Kept: {', '.join(kept)}", *_about(message)]
    lines += [f"Reason: {reason}" for reason in all_reasons(outbox)]
    lines += [f"Warning: {warning}" for warning in message.warnings]
    sections = ["".join(f"{_one_line(line)}\n" for line in lines), "Header of the message:\n\n" + _header(message)]
    for number, part in enumerate(outbox.kept_parts, 1):
        sections.append(f"Header of PART.{number}.BODY:\n\n{part.header.decode('utf-8', 'replace')}")
    return _clean("\n".join(sections))


def _header(message: Message) -> str:
    return b"".join(b"%s: %s\n" % field for field in message.headers_as_they_came()).decode("utf-8", "replace")


def _one_line(text: str) -> str:
    return _clean(" ".join(text.split()))


def _clean(text: str) -> str:
    """The text without what UTF-8 cannot say: bytes of the message that were no text."""
    return to_bytes(text).decode("utf-8", "replace").replace("\r", "").replace("\0", "\N{REPLACEMENT CHARACTER}")
