# SPDX-License-Identifier: GPL-3.0-or-later
"""COMMANDS: what the front end tells the worker of connection and envelope (protocol.md, COMMANDS).

One letter, its words, a newline. `TABLE` knows the letters; encoder and the table in protocol.md
follow from it, and `_READERS` has a row for each. The front end appends lines as it learns
things, so the encoder makes single lines and the decoder reads a whole file.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from . import percent
from .errors import Malformed, NotFinished, Unencodable
from .requests import NO_QUEUE_ID


class Letter(StrEnum):
    """What a line of COMMANDS says; the value is its first byte."""

    TRANSACTION_ID = "i"
    SENDER = "S"
    SENDER_ARG = "s"
    MACRO = "="
    QUEUE_ID = "Q"
    HOSTNAME = "H"
    IP = "I"
    HELO = "E"
    RECIPIENT = "R"
    RECIPIENT_ARG = "r"
    SUSPICIOUS_HEADERS = "!"
    SUSPICIOUS_BODY = "?"
    SUBJECT = "U"
    MESSAGE_ID = "X"
    RELAYED_IP = "J"
    FINISHED = "F"


@dataclass(frozen=True, slots=True)
class Row:
    """One letter: its words, and whether each stands for itself or the whole rest of the line is one."""

    letter: Letter
    words: tuple[str, ...]
    meaning: str
    if_empty: bytes | None = None
    """What stands in for an empty word; None where a line without value is meant."""


TABLE: Final = (
    Row(Letter.TRANSACTION_ID, ("id",), "the front end's own name for this message"),
    Row(Letter.SENDER, ("sender",), "envelope sender as given, with its angle brackets; the last one counts"),
    Row(Letter.SENDER_ARG, ("argument",), "one ESMTP argument of MAIL; each adds"),
    Row(Letter.MACRO, ("name", "value"), "one macro of the MTA, name without braces; each adds"),
    Row(Letter.QUEUE_ID, ("id",), "queue ID; the last one counts, for some MTAs tell it late"),
    Row(Letter.HOSTNAME, ("name",), "client's host name as the MTA gave it; the last one counts"),
    Row(Letter.IP, ("ip",), "client's address, bare letter if unknown; the last one counts"),
    Row(Letter.HELO, ("name",), "HELO argument, bare letter if it was empty; the last one counts"),
    Row(
        Letter.RECIPIENT,
        ("recipient", "mailer", "host", "address"),
        "an accepted recipient with the MTA's routing of it; each adds",
        if_empty=b"?",
    ),
    Row(Letter.RECIPIENT_ARG, ("argument",), "one ESMTP argument of the recipient above; each adds"),
    Row(Letter.SUSPICIOUS_HEADERS, (), "a header had a carriage return without line feed; may repeat"),
    Row(Letter.SUSPICIOUS_BODY, (), "the body had a bare carriage return or a NUL"),
    Row(Letter.SUBJECT, ("subject",), "a Subject, unfolded; the first one counts, all are counted"),
    Row(Letter.MESSAGE_ID, ("id",), "the Message-ID; the last one counts"),
    Row(Letter.RELAYED_IP, ("ip",), "client address out of a validation header; the last one counts"),
    Row(Letter.FINISHED, (), "end of the file; what follows does not count"),
)

_BY_LETTER: Final = {row.letter: (row, row.letter.encode()) for row in TABLE}


def encode_line(letter: Letter, *words: bytes) -> bytes:
    """One line with its newline; raises `Unencodable` if the letter takes another number of words."""
    row, head = _BY_LETTER[letter]
    if len(words) != len(row.words):
        raise Unencodable(f"COMMANDS {letter}: {len(row.words)} words expected, {len(words)} given")
    # Apart because nearly all lines are such, and every message has some twenty.
    if len(words) == 1:
        return b"%b%b\n" % (head, percent.encode_for_commands(words[0]))
    escaped = [percent.encode_for_commands(word) or row.if_empty or b"" for word in words]
    return head + b" ".join(escaped) + b"\n"


@dataclass(slots=True, kw_only=True)
class Recipient:
    """An accepted recipient as the front end knows it; `?` where the MTA told nothing."""

    address: bytes
    mailer: bytes = b"?"
    host: bytes = b"?"
    routed_address: bytes = b"?"
    esmtp_args: list[bytes] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Commands:
    """All that a COMMANDS file says. Values are bytes as the MTA gave them, unescaped."""

    transaction_id: bytes = b""
    queue_id: bytes = NO_QUEUE_ID
    ip: bytes = b""
    hostname: bytes = b""
    helo: bytes = b""
    sender: bytes = b""
    sender_args: list[bytes] = field(default_factory=list)
    recipients: list[Recipient] = field(default_factory=list)
    macros: dict[bytes, bytes] = field(default_factory=dict)
    suspicious_headers: bool = False
    suspicious_body: bool = False
    subject: bytes = b""
    subject_count: int = 0
    message_id: bytes = b""
    relayed_ip: bytes | None = None
    finished: bool = False
    unknown_lines: list[bytes] = field(default_factory=list)


_Reader = Callable[[Commands, bytes], None]


def _last(attribute: str) -> _Reader:
    """For a line of one word, of which the last counts; it keeps its raw blanks."""

    def read(into: Commands, rest: bytes) -> None:
        setattr(into, attribute, percent.decode(rest))

    return read


def _flag(attribute: str) -> _Reader:
    def read(into: Commands, _rest: bytes) -> None:
        setattr(into, attribute, True)

    return read


def _sender_arg(into: Commands, rest: bytes) -> None:
    into.sender_args.append(percent.decode(rest))


def _macro(into: Commands, rest: bytes) -> None:
    name, _, value = rest.partition(b" ")
    into.macros[percent.decode(name)] = percent.decode(value)


def _recipient(into: Commands, rest: bytes) -> None:
    words = [percent.decode(word) for word in rest.split(b" ", 3)]
    address, mailer, host, routed = words + [b"?"] * (4 - len(words))
    into.recipients.append(Recipient(address=address, mailer=mailer, host=host, routed_address=routed))


def _recipient_arg(into: Commands, rest: bytes) -> None:
    if not into.recipients:
        raise Malformed("COMMANDS: a recipient's argument before any recipient")
    into.recipients[-1].esmtp_args.append(percent.decode(rest))


def _subject(into: Commands, rest: bytes) -> None:
    if not into.subject_count:
        into.subject = percent.decode(rest)
    into.subject_count += 1


# What a line does, by its letter's byte: for a message with its twenty lines, one look-up and one call each.
_READERS: Final[dict[bytes, _Reader]] = {
    letter.encode(): reader
    for letter, reader in {
        Letter.TRANSACTION_ID: _last("transaction_id"),
        Letter.SENDER: _last("sender"),
        Letter.SENDER_ARG: _sender_arg,
        Letter.MACRO: _macro,
        Letter.QUEUE_ID: _last("queue_id"),
        Letter.HOSTNAME: _last("hostname"),
        Letter.IP: _last("ip"),
        Letter.HELO: _last("helo"),
        Letter.RECIPIENT: _recipient,
        Letter.RECIPIENT_ARG: _recipient_arg,
        Letter.SUSPICIOUS_HEADERS: _flag("suspicious_headers"),
        Letter.SUSPICIOUS_BODY: _flag("suspicious_body"),
        Letter.SUBJECT: _subject,
        Letter.MESSAGE_ID: _last("message_id"),
        Letter.RELAYED_IP: _last("relayed_ip"),
        Letter.FINISHED: _flag("finished"),
    }.items()
}


def decode(data: bytes, *, need_end: bool = True) -> Commands:
    """What the file says, up to its `F`.

    With `need_end` (in a scan it is set; at MAIL and RCPT the file is still growing) raises `NotFinished`
    if there is no `F`, and `Malformed` if there is no sender, for then its beginning is lost. Unknown letters are
    collected, not refused: an older or newer front end may write them.
    """
    out = Commands()
    for line in data.split(b"\n"):
        if not line:
            continue
        reader = _READERS.get(line[:1])
        if reader is None:
            out.unknown_lines.append(line)
            continue
        reader(out, line[1:])
        if out.finished:
            break
    if need_end and not out.finished:
        raise NotFinished("COMMANDS has no closing F")
    if need_end and not out.sender:
        raise Malformed("COMMANDS names no sender")
    return out
