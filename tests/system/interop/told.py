# SPDX-License-Identifier: GPL-3.0-or-later
"""What the MTA is told about one transaction, in a form that compares.

Two things are put in a common form, for neither can be equal between two programs: boundaries that a filter made up,
and the coding of parts in a rebuilt body, which is compared part by part as decoded. Everything else is bytes.
"""

from __future__ import annotations

import email.policy
import re
import time
from dataclasses import dataclass, replace
from email.parser import BytesParser
from itertools import groupby

from defang_worker.trial.mta_message import Change, ChangeHeader, HeaderField, ReplaceBody
from tests.support.mta import Answer, Milter, Outcome, Reply, Stage, Verdict
from tests.system.interop.messages import Transaction

ANSWER_LIMIT_S = 60
_BOUNDARY = re.compile(rb'(boundary=)(?:"[^"]*"|[^\s;]+)', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One part of a rebuilt body, decoded: the types from the root down, its file name, its bytes without line end."""

    types: tuple[str, ...]
    filename: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Final answer, answers to refused recipients, changes in their order, and the body that is delivered.

    `headers`, `sender`, `recipients` and `body` are what is delivered; `leaves` stands for the body if it was rebuilt.
    """

    stage: Stage
    verdict: Verdict
    reply: Reply | None
    refused: tuple[tuple[bytes, Answer], ...]
    changes: tuple[Change, ...]
    headers: tuple[tuple[bytes, bytes], ...]
    sender: bytes
    recipients: tuple[bytes, ...]
    body: bytes | None
    leaves: tuple[Leaf, ...]


def play(address: str, transaction: Transaction, queue_id: bytes) -> tuple[Told, float]:
    """Play a transaction on a connection of its own: what the MTA was told, and the seconds that it took."""
    begun = time.monotonic()
    with Milter(address, timeout_s=ANSWER_LIMIT_S) as milter:
        return play_on(milter, transaction, queue_id), time.monotonic() - begun


def play_on(milter: Milter, transaction: Transaction, queue_id: bytes) -> Told:
    """Play a transaction on a connection that may have had others; its client is that of the first."""
    outcome = milter.send(
        transaction.message,
        sender=transaction.sender,
        recipients=transaction.recipients,
        queue_id=queue_id,
        client=transaction.client,
        mail_arguments=transaction.mail_arguments,
        macros=transaction.macros,
        habits=transaction.habits,
    )
    return told(outcome)


def told(outcome: Outcome) -> Told:
    """The comparable form of an outcome."""
    rebuilt = any(isinstance(change, ReplaceBody) for change in outcome.changes)
    message = outcome.message
    return Told(
        stage=outcome.stage,
        verdict=outcome.verdict,
        reply=outcome.reply,
        refused=tuple(outcome.refused.items()),
        changes=_in_common_order([_without_invention(change) for change in outcome.changes]),
        headers=() if message is None else tuple(map(_plain_header, message.headers)),
        sender=outcome.envelope.sender,
        recipients=tuple(outcome.envelope.recipients),
        body=None if message is None or rebuilt else message.body,
        leaves=leaves(message.as_bytes()) if message is not None and rebuilt else (),
    )


def _in_common_order(changes: list[Change]) -> tuple[Change, ...]:
    """Changes of different fields that follow one another are put in order: the original's has hash tables for them."""
    ordered: list[Change] = []
    for is_header_change, run in groupby(changes, lambda change: isinstance(change, ChangeHeader)):
        together = list(run)
        if is_header_change:
            together.sort(key=lambda change: getattr(change, "name", b"").lower())
        ordered += together
    return tuple(ordered)


def _without_invention(change: Change) -> Change:
    match change:
        case ReplaceBody():
            return ReplaceBody(body=b"")
        case ChangeHeader(name=name, value=value) if name.lower() == b"content-type":
            return replace(change, value=_content_type(value))
        case _:
            return change


def _plain_header(header: HeaderField) -> tuple[bytes, bytes]:
    return header.name, _content_type(header.value) if header.key == b"content-type" else header.value


def _content_type(value: bytes) -> bytes:
    """The value unfolded, its boundary blotted out."""
    return _BOUNDARY.sub(rb"\1...", b" ".join(value.split()))


def leaves(message: bytes) -> tuple[Leaf, ...]:
    """The decoded parts of a message in order; a container without any child counts as one."""
    root = BytesParser(policy=email.policy.compat32).parsebytes(message)
    found: list[Leaf] = []

    def walk(part: email.message.Message, above: tuple[str, ...]) -> None:
        types = (*above, part.get_content_type())
        children = part.get_payload()
        if isinstance(children, list) and children:
            for child in children:
                if isinstance(child, email.message.Message):
                    walk(child, types)
            return
        payload = part.get_payload(decode=True)
        content = payload if isinstance(payload, bytes) else b""
        found.append(
            Leaf(types=types, filename=part.get_filename(""), content=content.replace(b"\r\n", b"\n").rstrip(b"\n"))
        )

    walk(root, ())
    return tuple(found)
