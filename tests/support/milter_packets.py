# SPDX-License-Identifier: GPL-3.0-or-later
"""The milter protocol's numbers and packets, as the MTA sees them: terms, answers, changes, errors.

Pure: bytes to values. `mta.py` has the socket and the order of things.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from defang_worker.trial.mta_message import (
    AddHeader,
    AddRecipient,
    Change,
    ChangeHeader,
    ChangeSender,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
)

PROTOCOL_VERSION = 6
# libmilter's mfdef.h: SMFIF_* (add headers to set symlist) and SMFIP_* bits that Sendmail 8.17 and Postfix 3.7 offer.
ALL_ACTIONS = 0x1FF
ALL_STEPS = 0x1FFFFF
# The steps with which every callback is sent and must be answered: what protocol version 2 knew.
NO_STEPS = 0
SKIP_BODY = 0x400
SEND_REJECTED_RECIPIENTS = 0x800
LEADING_SPACE = 0x100000
# MILTER_CHUNK_SIZE: the most that an MTA puts into one body packet unless more was negotiated.
BODY_CHUNK_BYTES = 65535


class Stage(StrEnum):
    """Where in the transaction an answer was given; the value is the command's letter."""

    NEGOTIATE = "O"
    CONNECT = "C"
    HELO = "H"
    MAIL = "M"
    RCPT = "R"
    DATA = "T"
    HEADER = "L"
    EOH = "N"
    BODY = "B"
    EOM = "E"


class Verdict(StrEnum):
    """What the milter wants. A reply of its own (packet `y`) counts as REJECT or TEMPFAIL by its first digit."""

    CONTINUE = "continue"
    ACCEPT = "accept"
    REJECT = "reject"
    TEMPFAIL = "tempfail"
    DISCARD = "discard"
    SKIP = "skip"


_VERDICTS = {
    b"c": Verdict.CONTINUE,
    b"a": Verdict.ACCEPT,
    b"r": Verdict.REJECT,
    b"t": Verdict.TEMPFAIL,
    b"d": Verdict.DISCARD,
    b"s": Verdict.SKIP,
}
NOT_SENT = {
    Stage.CONNECT: 0x1,
    Stage.HELO: 0x2,
    Stage.MAIL: 0x4,
    Stage.RCPT: 0x8,
    Stage.BODY: 0x10,
    Stage.HEADER: 0x20,
    Stage.EOH: 0x40,
    Stage.DATA: 0x200,
}
NOT_ANSWERED = {
    Stage.HEADER: 0x80,
    Stage.CONNECT: 0x1000,
    Stage.HELO: 0x2000,
    Stage.MAIL: 0x4000,
    Stage.RCPT: 0x8000,
    Stage.DATA: 0x10000,
    Stage.EOH: 0x40000,
    Stage.BODY: 0x80000,
}
# Numbers of the macro lists in the negotiation answer (SMFIM_*), against the command whose macros they choose.
_MACRO_STAGES = {
    0: Stage.CONNECT,
    1: Stage.HELO,
    2: Stage.MAIL,
    3: Stage.RCPT,
    4: Stage.DATA,
    5: Stage.EOM,
    6: Stage.EOH,
}


class MilterError(Exception):
    """The milter broke the protocol or its connection. An MTA answers with a temporary failure (Sendmail's F=T)."""


class MilterClosedError(MilterError):
    """The connection is closed, refused or reset."""


class MilterTimeoutError(MilterError):
    """No answer within the time limit."""


class MilterGarbageError(MilterError):
    """Bytes that are no packet, or a packet that is not allowed there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A milter's own SMTP reply: code, enhanced code (may be empty), and text, lines divided by LF, `%%` made `%`."""

    code: int
    dsn: bytes
    text: bytes
    packet: bytes

    @classmethod
    def parse(cls, packet: bytes) -> Reply:
        """The reply of a `y` packet, without the NUL at its end; ValueError if it is none."""
        lines = [line.rstrip(b"\r") for line in packet.split(b"\n")]
        if not all(line[:3].isdigit() and line[3:4] in (b" ", b"-", b"") for line in lines) or packet[:1] not in b"45":
            raise ValueError(f"not an SMTP reply: {packet!r}")
        dsn, texts = b"", []
        for line in lines:
            word, space, rest = line[4:].partition(b" ")
            if space and word.count(b".") == 2 and word.replace(b".", b"").isdigit():
                dsn, text = word, rest
            else:
                text = line[4:]
            texts.append(text.replace(b"%%", b"%"))
        return cls(code=int(lines[0][:3]), dsn=dsn, text=b"\n".join(texts), packet=packet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A milter's answer to one callback; `reply` is set if it brought its own SMTP reply."""

    verdict: Verdict
    reply: Reply | None = None


CONTINUE = Answer(verdict=Verdict.CONTINUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the MTA offers in the negotiation."""

    version: int = PROTOCOL_VERSION
    actions: int = ALL_ACTIONS
    steps: int = ALL_STEPS


EVERYTHING = Offer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the milter took of the offer. A stage missing in `macro_lists` gets the MTA's own choice of macros."""

    version: int
    actions: int
    steps: int
    macro_lists: Mapping[Stage, frozenset[bytes]]


def decode_terms(data: bytes, offer: Offer) -> Terms:
    """The milter's negotiation packet; MilterGarbageError if it is cut or wants more than was offered."""
    if len(data) < 12:
        raise MilterGarbageError(f"negotiation: packet of {len(data)} bytes")
    version, actions, steps = struct.unpack_from(">III", data)
    if version > offer.version or actions & ~offer.actions or steps & ~offer.steps:
        raise MilterGarbageError(f"negotiation: the milter wants more than was offered: {data[:12].hex()}")
    lists: dict[Stage, frozenset[bytes]] = {}
    at = 12
    while at + 4 <= len(data):
        (number,) = struct.unpack_from(">I", data, at)
        names, end, _ = data[at + 4 :].partition(b"\0")
        if number not in _MACRO_STAGES or not end:
            raise MilterGarbageError(f"negotiation: macro list {number} is unknown or not ended")
        lists[_MACRO_STAGES[number]] = frozenset(names.split())
        at += 4 + len(names) + 1
    return Terms(version=version, actions=actions, steps=steps, macro_lists=lists)


def decode_answer(stage: Stage, letter: bytes, data: bytes) -> Answer:
    """The milter's answer at that stage; MilterGarbageError if the packet is no answer there."""
    if letter == b"y":
        try:
            reply = Reply.parse(data.rstrip(b"\0"))
        except ValueError as error:
            raise MilterGarbageError(f"{stage.name}: {error}") from error
        return Answer(verdict=Verdict.REJECT if reply.code >= 500 else Verdict.TEMPFAIL, reply=reply)
    verdict = _VERDICTS.get(letter)
    if verdict is None or (verdict is Verdict.SKIP and stage is not Stage.BODY):
        raise MilterGarbageError(f"{stage.name}: packet {letter!r} {data[:80]!r} is no answer there")
    return Answer(verdict=verdict)


def decode_change(letter: bytes, data: bytes) -> Change | None:
    """The change that a packet asks for, or None if it is a final answer; the body's packets are the caller's."""
    try:
        if letter in (b"h", b"i", b"m"):
            return _decode_header_change(letter, data)
        address, *arguments = data.removesuffix(b"\0").split(b"\0")
    except (ValueError, struct.error) as error:
        raise MilterGarbageError(f"EOM: packet {letter!r} {data[:80]!r} is malformed: {error}") from error
    change: Change | None = None
    match letter:
        case b"+" | b"2":
            change = AddRecipient(address=address, arguments=b" ".join(arguments))
        case b"-":
            change = DeleteRecipient(address=address)
        case b"e":
            change = ChangeSender(address=address, arguments=b" ".join(arguments))
        case b"q":
            change = Quarantine(reason=address)
        case _:
            pass
    return change


def _decode_header_change(letter: bytes, data: bytes) -> Change:
    numbered = letter != b"h"
    name, value = data[4 * numbered :].removesuffix(b"\0").split(b"\0")
    if not numbered:
        return AddHeader(name=name, value=value)
    (index,) = struct.unpack_from(">I", data)
    return (InsertHeader if letter == b"i" else ChangeHeader)(index=index, name=name, value=value)
