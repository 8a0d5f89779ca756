# SPDX-License-Identifier: GPL-3.0-or-later
"""COMMANDS: what the front end tells the worker of connection and envelope (protocol.md, COMMANDS).

One letter, its words, a newline. `TABLE` is the only place that knows the letters; encoder,
decoder and the table in protocol.md follow from it. The front end appends lines as it learns
things, so the encoder makes single lines and the decoder reads a whole file.
"""

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

_BY_LETTER: Final = {row.letter: row for row in TABLE}
_BY_BYTE: Final = {row.letter.encode(): row for row in TABLE}


def encode_line(letter: Letter, *words: bytes) -> bytes:
    """One line with its newline; raises `Unencodable` if the letter takes another number of words."""
    row = _BY_LETTER[letter]
    if len(words) != len(row.words):
        raise Unencodable(f"COMMANDS {letter}: {len(row.words)} words expected, {len(words)} given")
    escaped = [percent.encode_for_commands(word) or row.if_empty or b"" for word in words]
    return letter.encode() + b" ".join(escaped) + b"\n"


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


def _split(row: Row, value: bytes) -> list[bytes]:
    """The words of a line, unescaped; a line of one word keeps its raw blanks."""
    if len(row.words) < 2:
        return [percent.decode(value)]
    words = [percent.decode(word) for word in value.split(b" ", len(row.words) - 1)]
    return words + [row.if_empty or b""] * (len(row.words) - len(words))


def _take(into: Commands, letter: Letter, words: list[bytes]) -> None:
    match letter:
        case Letter.TRANSACTION_ID:
            into.transaction_id = words[0]
        case Letter.SENDER:
            into.sender = words[0]
        case Letter.SENDER_ARG:
            into.sender_args.append(words[0])
        case Letter.MACRO:
            into.macros[words[0]] = words[1]
        case Letter.QUEUE_ID:
            into.queue_id = words[0]
        case Letter.HOSTNAME:
            into.hostname = words[0]
        case Letter.IP:
            into.ip = words[0]
        case Letter.HELO:
            into.helo = words[0]
        case Letter.RECIPIENT:
            into.recipients.append(Recipient(address=words[0], mailer=words[1], host=words[2], routed_address=words[3]))
        case Letter.RECIPIENT_ARG:
            if not into.recipients:
                raise Malformed("COMMANDS: a recipient's argument before any recipient")
            into.recipients[-1].esmtp_args.append(words[0])
        case Letter.SUBJECT:
            into.subject = into.subject if into.subject_count else words[0]
            into.subject_count += 1
        case _:
            _take_flag(into, letter, words)


def _take_flag(into: Commands, letter: Letter, words: list[bytes]) -> None:
    match letter:
        case Letter.SUSPICIOUS_HEADERS:
            into.suspicious_headers = True
        case Letter.SUSPICIOUS_BODY:
            into.suspicious_body = True
        case Letter.MESSAGE_ID:
            into.message_id = words[0]
        case Letter.RELAYED_IP:
            into.relayed_ip = words[0]
        case Letter.FINISHED:
            into.finished = True


def decode(data: bytes, *, need_end: bool = True) -> Commands:
    """What the file says, up to its `F`.

    Raises `NotFinished` if there is no `F` and `need_end` is set (in a scan it is; at MAIL and
    RCPT the file is still growing). Unknown letters are collected, not refused: an older or
    newer front end may write them.
    """
    out = Commands()
    for line in data.split(b"\n"):
        if not line:
            continue
        row = _BY_BYTE.get(line[:1])
        if row is None:
            out.unknown_lines.append(line)
            continue
        _take(out, row.letter, _split(row, line[1:]))
        if out.finished:
            break
    if need_end and not out.finished:
        raise NotFinished("COMMANDS has no closing F")
    return out
