# SPDX-License-Identifier: GPL-3.0-or-later
"""RESULTS: what the worker wants done to the message (protocol.md, RESULTS).

One letter, its words, a newline. `TABLE` is the only place that knows the letters; encoder,
decoder and the table in protocol.md follow from it. The front end decodes the whole file
before it applies the first line, so a file that ends too early changes nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from defang_common.shown import shown

from . import percent
from .answers import Verdict, answer
from .errors import LineTooLong, Malformed, NotFinished, Unencodable

MAX_FILE_BYTES: Final = 65_535
MAX_LINE_BYTES: Final = 16_382
"""Both limits are the original front end's; a line's is without its newline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce:
    """Refuse the message with a 5xx reply; empty words become 554, 5.7.1 and a usual text."""

    code: bytes = b""
    dsn: bytes = b""
    text: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempfail:
    """Refuse the message with a 4xx reply; empty words become 451, 4.3.0 and a usual text."""

    code: bytes = b""
    dsn: bytes = b""
    text: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Accept the message towards the client and deliver it to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddHeader:
    """Append a header field at the end of the header."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertHeader:
    """Insert a header field at an absolute position, 0 being the top."""

    name: bytes
    index: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeHeader:
    """Give the index-th field of that name (from 1) a new value; an empty one deletes it."""

    name: bytes
    index: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteHeader:
    """Delete the index-th field of that name (from 1)."""

    name: bytes
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeContentType:
    """Change the message's Content-Type; adds MIME-Version 1.0 to a message that had none."""

    value: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceBody:
    """The message's new body stands in NEWBODY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRecipient:
    """Add an envelope recipient."""

    address: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecipient:
    """Remove an envelope recipient, named as in the envelope."""

    address: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSender:
    """Change the envelope sender."""

    address: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Have the MTA hold the message in its own quarantine; done even if a verdict follows."""

    reason: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The end of the file."""


Result = (
    Bounce
    | Tempfail
    | Discard
    | AddHeader
    | InsertHeader
    | ChangeHeader
    | DeleteHeader
    | ChangeContentType
    | ReplaceBody
    | AddRecipient
    | DeleteRecipient
    | ChangeSender
    | Quarantine
    | Finish
)


class Kind(Enum):
    """How a word is read: as bytes, as a position from 0, or as a number from 1."""

    TEXT = auto()
    FROM_0 = auto()
    FROM_1 = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """One word of a line: the record's attribute, how it is read, and whether it may be missing."""

    name: str
    kind: Kind = Kind.TEXT
    optional: bool = False
    drop_cr: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One letter with its record and words; `verdict` marks a line that decides the message.

    `may_be_cut` marks one whose last word is for people: what of it goes over the limit is left out.
    """

    letter: bytes
    record: Callable[..., Result]
    fields: tuple[Field, ...] = ()
    verdict: Verdict | None = None
    may_be_cut: bool = False


_REPLY: Final = tuple(Field(name, optional=True) for name in ("code", "dsn", "text"))
_NAME: Final = Field("name")
# A CR inside a header value would let a filter's text end the field at some MTAs.
_VALUE: Final = Field("value", drop_cr=True)
_ADDRESS: Final = (Field("address"),)

TABLE: Final = (
    Row(b"B", Bounce, _REPLY, Verdict.REJECT, may_be_cut=True),
    Row(b"T", Tempfail, _REPLY, Verdict.TEMPFAIL, may_be_cut=True),
    Row(b"D", Discard, (), Verdict.DISCARD),
    Row(b"H", AddHeader, (_NAME, _VALUE)),
    Row(b"N", InsertHeader, (_NAME, Field("index", Kind.FROM_0), _VALUE)),
    Row(b"I", ChangeHeader, (_NAME, Field("index", Kind.FROM_1), _VALUE)),
    Row(b"J", DeleteHeader, (_NAME, Field("index", Kind.FROM_1))),
    Row(b"M", ChangeContentType, (Field("value", optional=True),)),
    Row(b"C", ReplaceBody),
    Row(b"R", AddRecipient, _ADDRESS),
    Row(b"S", DeleteRecipient, _ADDRESS),
    Row(b"f", ChangeSender, _ADDRESS),
    Row(b"Q", Quarantine, (Field("reason", optional=True),), may_be_cut=True),
    Row(b"F", Finish),
)

_BY_LETTER: Final = {row.letter: row for row in TABLE}
_BY_RECORD: Final = {row.record: row for row in TABLE}
_BLANK: Final = re.compile(rb"[ \t\v\f\r]")


def encode_line(result: Result) -> bytes:
    """One line with its newline, a text for people cut; raises `Unencodable` for another one over the line limit."""
    line = _line(result)
    if len(line) > MAX_LINE_BYTES:
        if _BY_RECORD[type(result)].may_be_cut:
            return percent.cut(line, MAX_LINE_BYTES) + b"\n"
        raise Unencodable(f"RESULTS {line[:1].decode()}: line of {len(line)} bytes, limit {MAX_LINE_BYTES}")
    return line + b"\n"


def show_line(result: Result) -> str:
    """The line without its newline, cut, for the log."""
    return shown(_line(result))


def _line(result: Result) -> bytes:
    row = _BY_RECORD[type(result)]
    words = []
    for field in row.fields:
        value = getattr(result, field.name)
        words.append(percent.encode(value) if field.kind is Kind.TEXT else b"%d" % value)
    if row.verdict is not None and not any(words):
        words = []
    return row.letter + b" ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A whole RESULTS file: what to apply in order, and the verdict if there is one.

    With a verdict, `changes` has only quarantine requests: a refused message is not changed.
    `oddities` are lines that were ignored, with the reason, for the log.
    """

    changes: tuple[Result, ...]
    verdict: Bounce | Tempfail | Discard | None
    oddities: tuple[str, ...]


def _index(word: bytes, lowest: int) -> int:
    text = word.strip()
    number = int(text) if text.isdigit() and len(text) < 10 else lowest
    return max(number, lowest)


def _words(value: bytes, count: int) -> list[bytes]:
    """At most `count` words; the last one takes the rest, raw blanks included."""
    if not value:
        return []
    # Not maxsplit=0, which re takes for "no limit".
    return [value] if count == 1 else _BLANK.split(value, maxsplit=count - 1)


def _read(row: Row, value: bytes) -> Result | None:
    """The line's record, or None if a word that it needs is missing."""
    if not row.fields:
        # Not one that a worker wrote: "Dear customer" is no order to discard.
        if value.strip():
            raise Malformed(f"RESULTS {row.letter.decode()}: no words expected, found: {shown(value)}")
        return row.record()
    words = _words(value, len(row.fields))
    values: dict[str, bytes | int] = {}
    for position, field in enumerate(row.fields):
        if position >= len(words):
            if not field.optional:
                return None
            continue
        # The milter protocol ends its strings with NUL and so cannot carry one.
        word = percent.decode(words[position]).replace(b"\0", b"")
        if field.drop_cr:
            word = word.replace(b"\r", b"")
        lowest = 0 if field.kind is Kind.FROM_0 else 1
        values[field.name] = word if field.kind is Kind.TEXT else _index(word, lowest)
    return row.record(**values)


def _fit_reply(verdict: Verdict, what: Bounce | Tempfail) -> Bounce | Tempfail:
    full = answer(verdict, what.text, what.code, what.dsn)
    return type(what)(code=full.code, dsn=full.dsn, text=full.text or b"")


def decode(data: bytes, *, need_end: bool = True) -> Results:
    """What the file asks for, up to its first verdict or its `F`.

    Raises `NotFinished` if it has neither (unless `need_end` is False, for a file that checks have begun),
    `LineTooLong` or `Malformed` if it is over a limit, or if words follow a letter that has none.
    Unknown letters and lines without their words are ignored and named in `oddities`.
    """
    if len(data) > MAX_FILE_BYTES:
        raise Malformed(f"RESULTS has {len(data)} bytes, limit {MAX_FILE_BYTES}")
    changes: list[Result] = []
    oddities: list[str] = []
    for line in data.removesuffix(b"\n").split(b"\n"):
        if len(line) > MAX_LINE_BYTES:
            raise LineTooLong(f"RESULTS has a line of {len(line)} bytes, limit {MAX_LINE_BYTES}")
        row = _BY_LETTER.get(line[:1])
        result = None if row is None else _read(row, line[1:])
        match result:
            case None:
                oddities.append(f"line ignored: {shown(line)}")
            case Bounce() | Tempfail() | Discard():
                held = tuple(change for change in changes if isinstance(change, Quarantine))
                if row is not None and row.verdict is not None and not isinstance(result, Discard):
                    result = _fit_reply(row.verdict, result)
                return Results(changes=held, verdict=result, oddities=tuple(oddities))
            case Finish():
                return Results(changes=tuple(changes), verdict=None, oddities=tuple(oddities))
            case _:
                changes.append(result)
    if need_end:
        raise NotFinished("RESULTS has no closing F")
    return Results(changes=tuple(changes), verdict=None, oddities=tuple(oddities))
