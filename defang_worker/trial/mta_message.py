# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail message as an MTA keeps it, and the changes that a milter may ask for.

`Message.parse` splits the bytes of SMTP's DATA into header fields and body without touching a byte; `apply_changes`
carries out a milter's requests in their order, as Sendmail or as Postfix would. No sockets here: `mta.py` speaks the
protocol and collects the changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

CRLF = b"\r\n"
_LINE_END = re.compile(rb"\r?\n")
_UNFOLDED = re.compile(rb"\r?\n(?![ \t])")
# RFC 5322 section 2.2: printable characters but the colon; white space before the colon is the obsolete form (4.5).
_FIELD_START = re.compile(rb"([!-9;-~]+[ \t]*):")


def as_crlf(text: bytes) -> bytes:
    """The text with every line ended by CR LF, as it travels in SMTP; a CR that stands alone stays."""
    return _LINE_END.sub(CRLF, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderField:
    """One header field: the bytes before the colon, and those behind it up to its last CR LF (folding as CR LF)."""

    name: bytes
    after_colon: bytes

    @property
    def key(self) -> bytes:
        """The name as it is compared: lower case, without the white space that the obsolete syntax allows."""
        return self.name.rstrip(b" \t").lower()

    @property
    def value(self) -> bytes:
        """The value as an MTA hands it to a milter: one leading space dropped, folded lines divided by LF."""
        return self.after_colon.removeprefix(b" ").replace(CRLF, b"\n")

    @classmethod
    def make(cls, name: bytes, value: bytes) -> HeaderField:
        """The field that an MTA writes for a milter's name and value; a bare line end in it becomes a folded line."""
        return cls(name=name, after_colon=b" " + as_crlf(_UNFOLDED.sub(b"\n ", value)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Header fields in order, the bytes between header and body (CR LF, or nothing), and the body."""

    headers: tuple[HeaderField, ...]
    separator: bytes = CRLF
    body: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Message:
        """Split the content of SMTP's DATA (lines end with CR LF); `as_bytes` gives back the very same bytes.

        As in both MTAs, the header ends at an empty line or at the first line that can be no header field.
        """
        fields: list[HeaderField] = []
        at = 0
        while (end := data.find(CRLF, at)) > at:
            line = data[at:end]
            if fields and line[:1] in (b" ", b"\t"):
                last = fields[-1]
                fields[-1] = replace(last, after_colon=last.after_colon + CRLF + line)
            elif start := _FIELD_START.match(line):
                fields.append(HeaderField(name=start[1], after_colon=line[start.end() :]))
            else:
                return cls(headers=tuple(fields), separator=b"", body=data[at:])
            at = end + 2
        if end == at:
            return cls(headers=tuple(fields), body=data[at + 2 :])
        return cls(headers=tuple(fields), separator=b"", body=data[at:])

    def as_bytes(self) -> bytes:
        """The message as SMTP's DATA would carry it."""
        lines = [b"%s:%s\r\n" % (header.name, header.after_colon) for header in self.headers]
        return b"".join([*lines, self.separator, self.body])

    def values(self, name: bytes) -> list[bytes]:
        """The values of all header fields of that name, in order."""
        return [header.value for header in self.headers if header.key == name.lower()]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddHeader:
    """Append a header field (packet `h`)."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertHeader:
    """Insert a header field before field number `index`, counted from 0 (packet `i`)."""

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeHeader:
    """Change field number `index` (from 1) of that name, or delete it if the value is empty (packet `m`)."""

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRecipient:
    """Add an envelope recipient, with ESMTP arguments if any (packets `+` and `2`)."""

    address: bytes
    arguments: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecipient:
    """Remove an envelope recipient (packet `-`)."""

    address: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSender:
    """Change the envelope sender, with ESMTP arguments if any (packet `e`)."""

    address: bytes
    arguments: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceBody:
    """A new body: the bytes of all `b` packets joined, line ends as the milter sent them."""

    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Hold the message at the MTA, for this reason (packet `q`)."""

    reason: bytes


Change = (
    AddHeader | InsertHeader | ChangeHeader | AddRecipient | DeleteRecipient | ChangeSender | ReplaceBody | Quarantine
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Where MTAs differ; all of it was seen in Sendmail 8.17 and Postfix 3.7.

    `late_queue_id`: the queue ID is first told behind the first accepted recipient. `aborts_after_message`: the milter
    hears an abort after each message, a delivered one too. `deleted_fields_count`: a deleted header field keeps its
    number for the changes that follow. `adds_before_namesake`: an added field goes before the first of the same name.
    `refusal_of_content`: the reply code of a bare reject once the content has come.
    """

    late_queue_id: bool
    aborts_after_message: bool
    deleted_fields_count: bool
    adds_before_namesake: bool
    refusal_of_content: int


SENDMAIL = Habits(
    late_queue_id=False,
    aborts_after_message=False,
    deleted_fields_count=True,
    adds_before_namesake=True,
    refusal_of_content=554,
)
POSTFIX = Habits(
    late_queue_id=True,
    aborts_after_message=True,
    deleted_fields_count=False,
    adds_before_namesake=False,
    refusal_of_content=550,
)


@dataclass(slots=True, kw_only=True)
class Envelope:
    """Sender and recipients with their angle brackets, and what a milter made of them."""

    sender: bytes
    recipients: list[bytes]
    quarantine_reason: bytes | None = None


# The MTA's own Received field: milters do not see it and cannot change it, but inserting counts it.
_OWN_RECEIVED = HeaderField(name=b"", after_colon=b"")


class _HeaderList:
    """Header fields under change. A deleted field is None: whether it still counts is where the two MTAs differ."""

    def __init__(self, fields: Iterable[HeaderField], habits: Habits) -> None:
        self._fields: list[HeaderField | None] = [_OWN_RECEIVED, *fields]
        self._keys = [header.key for header in self._fields if header is not None]
        self._habits = habits

    def kept(self) -> tuple[HeaderField, ...]:
        return tuple(header for header in self._fields if header not in (None, _OWN_RECEIVED))

    def add(self, name: bytes, value: bytes) -> None:
        at = len(self._fields)
        if self._habits.adds_before_namesake and name.lower() in self._keys:
            at = self._keys.index(name.lower())
        self.insert(at, name, value)

    def insert(self, at: int, name: bytes, value: bytes) -> None:
        header = HeaderField.make(name, value)
        self._fields.insert(at, header)
        self._keys.insert(at, header.key)

    def change(self, index: int, name: bytes, value: bytes) -> None:
        places = [
            at
            for at, key in enumerate(self._keys)
            if key == name.lower() and (self._habits.deleted_fields_count or self._fields[at] is not None)
        ]
        if index <= len(places):
            self._fields[places[max(index, 1) - 1]] = HeaderField.make(name, value) if value else None
        elif value:
            self.add(name, value)


def apply_changes(message: Message, envelope: Envelope, changes: Iterable[Change], habits: Habits) -> Message:
    """The message after the changes, in their order; the envelope is changed in place."""
    headers = _HeaderList(message.headers, habits)
    separator, body = message.separator, message.body
    for change in changes:
        match change:
            case AddHeader(name=name, value=value):
                headers.add(name, value)
            case InsertHeader(index=index, name=name, value=value):
                headers.insert(index, name, value)
            case ChangeHeader(index=index, name=name, value=value):
                headers.change(index, name, value)
            case ReplaceBody(body=new_body):
                separator, body = CRLF, _whole_lines(new_body)
            case _:
                _change_envelope(envelope, change)
    return Message(headers=headers.kept(), separator=separator, body=body)


def _whole_lines(body: bytes) -> bytes:
    """A milter's new body as both MTAs send it on: CR LF at every line end, and at the end of the last line."""
    lines = as_crlf(body)
    return lines if not lines or lines.endswith(CRLF) else lines + CRLF


def _change_envelope(envelope: Envelope, change: AddRecipient | DeleteRecipient | ChangeSender | Quarantine) -> None:
    match change:
        case AddRecipient(address=address):
            if address not in envelope.recipients:
                envelope.recipients.append(address)
        case DeleteRecipient(address=address):
            envelope.recipients[:] = [known for known in envelope.recipients if known != address]
        case ChangeSender(address=address):
            envelope.sender = address
        case Quarantine(reason=reason):
            envelope.quarantine_reason = reason
