# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests, one line each (protocol.md, Requests).

The front end writes them, the multiplexor passes them on, the worker reads them. `TABLE` is
the only place that knows a request's words; encoder, decoder and the table in protocol.md
follow from it. Arguments are bytes as the MTA gave them, unescaped.

An empty argument would be two blanks in a row, which MIMEDefang's Perl worker reads as one:
every later argument would shift. The encoder therefore never writes an empty word.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from . import percent
from .errors import Malformed
from .lines import MAX_REQUEST_LINE_BYTES

UNKNOWN: Final = b"UNKNOWN"
NO_QUEUE_ID: Final = b"NOQUEUE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """How many workers could take a request now? The multiplexor itself answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Is this worker alive?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOk:
    """May this client connect? Asked at connect."""

    ip: bytes
    name: bytes
    client_port: bytes
    my_ip: bytes
    my_port: bytes
    queue_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HeloOk:
    """May this client say this HELO? Asked at every HELO and EHLO."""

    ip: bytes
    name: bytes
    helo: bytes
    client_port: bytes
    my_ip: bytes
    my_port: bytes
    queue_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOk:
    """May mail come from this sender? Asked at MAIL; the working directory exists."""

    sender: bytes
    ip: bytes
    name: bytes
    helo: bytes
    directory: bytes
    queue_id: bytes
    esmtp_args: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipOk:
    """May mail go to this recipient? Asked at every RCPT."""

    recipient: bytes
    sender: bytes
    ip: bytes
    name: bytes
    first_recipient: bytes
    helo: bytes
    directory: bytes
    queue_id: bytes
    mailer: bytes
    host: bytes
    address: bytes
    esmtp_args: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Filter the message in this directory. Asked at the end of the message."""

    queue_id: bytes
    directory: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """Look a key up in a table, for the MTA's socket map."""

    table: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Do the periodic work of this kind (a small number as text)."""

    kind: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A command of the site's own: anything that stands in no row of `TABLE`."""

    command: bytes
    words: tuple[bytes, ...] = ()


Request = Free | Ping | RelayOk | HeloOk | SenderOk | RecipOk | Scan | Map | Tick | Own


@dataclass(frozen=True, slots=True)
class Field:
    """One word of a request: the record's attribute, and what stands in when it is empty."""

    name: str
    if_empty: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One request: its word, its record, its words in order, and whether ESMTP arguments follow."""

    word: bytes
    record: Callable[..., Request]
    fields: tuple[Field, ...]
    esmtp: bool = False


_IP = Field("ip", UNKNOWN)
_NAME = Field("name", UNKNOWN)
_HELO = Field("helo", UNKNOWN)
_QUEUE_ID = Field("queue_id", NO_QUEUE_ID)
_DIRECTORY = Field("directory", UNKNOWN)
_SENDER = Field("sender", UNKNOWN)
_PORTS = (Field("client_port", b"0"), Field("my_ip", UNKNOWN), Field("my_port", b"0"))

TABLE: Final = (
    Row(b"free", Free, ()),
    Row(b"ping", Ping, ()),
    Row(b"relayok", RelayOk, (_IP, _NAME, *_PORTS, _QUEUE_ID)),
    Row(b"helook", HeloOk, (_IP, _NAME, _HELO, *_PORTS, _QUEUE_ID)),
    Row(b"senderok", SenderOk, (_SENDER, _IP, _NAME, _HELO, _DIRECTORY, _QUEUE_ID), esmtp=True),
    Row(
        b"recipok",
        RecipOk,
        (
            Field("recipient", UNKNOWN),
            _SENDER,
            _IP,
            _NAME,
            Field("first_recipient", UNKNOWN),
            _HELO,
            _DIRECTORY,
            _QUEUE_ID,
            Field("mailer", b"?"),
            Field("host", b"?"),
            Field("address", b"?"),
        ),
        esmtp=True,
    ),
    Row(b"scan", Scan, (_QUEUE_ID, _DIRECTORY)),
    Row(b"map", Map, (Field("table", b"?"), Field("key", b"?"))),
    Row(b"tick", Tick, (Field("kind", b"0"),)),
)

_BY_WORD: Final = {row.word: row for row in TABLE}
_BY_RECORD: Final = {row.record: row for row in TABLE}


def encode(request: Request) -> bytes:
    """The request's line with its newline.

    ESMTP arguments that would take the line over what a multiplexor accepts are left out, as
    the original does; COMMANDS still has them. The fixed words are never cut: a line that is
    too long with them alone is answered by the multiplexor with an error, and so deferred.
    """
    if isinstance(request, Own):
        words = [percent.encode(word) or b"?" for word in (request.command, *request.words)]
        return b" ".join(words) + b"\n"
    row = _BY_RECORD[type(request)]
    words = [row.word]
    for field in row.fields:
        words.append(percent.encode(getattr(request, field.name)) or field.if_empty)
    line = b" ".join(words)
    if isinstance(request, SenderOk | RecipOk):
        for arg in request.esmtp_args:
            longer = line + b" " + percent.encode(arg)
            if arg and len(longer) <= MAX_REQUEST_LINE_BYTES:
                line = longer
    return line + b"\n"


def decode(line: bytes) -> Request:
    """The request in `line` (without its newline).

    Words are split at single blanks, so that an empty word from the original front end (an
    empty HELO) stays where it is. Raises `Malformed` when words are missing or left over.
    """
    raw = line.split(b" ")
    command = percent.decode(raw[0]).lower()
    row = _BY_WORD.get(command)
    if row is None:
        return Own(command=command, words=tuple(map(percent.decode, raw[1:])))
    words = [percent.decode(word) for word in raw[1:]]
    count = len(row.fields)
    if row.record is Tick and not words:
        words = [b"0"]
    if len(words) < count or (len(words) > count and not row.esmtp):
        raise Malformed(f"{command.decode()}: {count} words expected, {len(words)} found")
    values = dict(zip((field.name for field in row.fields), words, strict=False))
    if row.esmtp:
        return row.record(**values, esmtp_args=tuple(words[count:]))
    return row.record(**values)


def queue_id_of(line: bytes) -> bytes | None:
    """The queue ID in a raw request line, for log lines of those that only pass it on."""
    word, _, rest = line.partition(b" ")
    row = _BY_WORD.get(word.lower())
    if row is None or _QUEUE_ID not in row.fields:
        return None
    words = rest.split(b" ", len(row.fields))
    position = row.fields.index(_QUEUE_ID)
    return percent.decode(words[position]) or None if position < len(words) else None
