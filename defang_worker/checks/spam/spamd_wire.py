# SPDX-License-Identifier: GPL-3.0-or-later
"""One question to spamd and its answer, written and read by aiospamc, over a `Stream` that keeps the deadline.

aiospamc is made for asyncio; its client is given a connection that never has it wait, so that no event loop is needed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.faults import CouldNotTell, ServiceFault

try:
    from aiospamc.client import Client
    from aiospamc.connections import ConnectionManager
    from aiospamc.exceptions import ClientException
    from aiospamc.header_values import (
        ActionOption,
        MessageClassOption,
        MessageClassValue,
        SetOrRemoveValue,
        UserValue,
    )
    from aiospamc.requests import Request
    from aiospamc.responses import ResponseException, Status
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(
        f"SpamAssassin needs a package that is not there ({missing}): make install EXTRAS=spamassassin"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiospamc.header_values import HeaderValue
    from aiospamc.responses import Response

    from defang_worker.checks.stream import Stream

__all__ = ["Lesson", "exchange"]

_MAX_ANSWER_BYTES: Final = 1024 * 1024
# What spamd says of one message, or of its user; of anything else the next message would hear the same.
_OF_THIS_MESSAGE: Final = frozenset({Status.EX_DATAERR, Status.EX_NOUSER, Status.EX_TIMEOUT})


class Lesson(StrEnum):
    """What SpamAssassin is to learn of a message."""

    SPAM = "spam"
    HAM = "ham"
    FORGET = "forget"
    """That it was told wrong."""


class _Connection(ConnectionManager):
    """A connection that is there already."""

    def __init__(self, stream: Stream) -> None:
        super().__init__("stream")
        self._stream = stream

    async def request(self, data: bytes) -> bytes:
        """Sends the question, and gives all that comes until spamd closes."""
        self._stream.send(data)
        return self._stream.read_to_end(at_most=_MAX_ANSWER_BYTES)


def exchange(
    stream: Stream, verb: str, body: bytes = b"", *, user: str = "", lesson: Lesson | None = None, share: bool = False
) -> Response:
    """What spamd answers; raises CouldNotTell, ServiceFault or OSError."""
    fields: dict[str, HeaderValue] = {} if lesson is None else _lesson_fields(lesson, share=share)
    if user:
        fields["User"] = UserValue(user)
    request = Request(verb, headers=fields, body=body)
    try:
        return _run(Client(_Connection(stream)).request(request))
    except ResponseException as refusal:
        kind = CouldNotTell if refusal.code in _OF_THIS_MESSAGE else ServiceFault
        raise kind(f"spamd refused with {refusal.code}: {refusal}") from refusal
    # What is no ASCII where it should be is a ValueError.
    except (ClientException, ValueError) as garbage:
        raise ServiceFault(f"answered with what is no answer: {str(garbage)[:200]}") from garbage


def _lesson_fields(lesson: Lesson, *, share: bool) -> dict[str, HeaderValue]:
    local = SetOrRemoveValue(ActionOption(local=True))
    match lesson:
        case Lesson.SPAM:
            set_ = SetOrRemoveValue(ActionOption(local=True, remote=share))
            return {"Message-class": MessageClassValue(MessageClassOption.spam), "Set": set_}
        case Lesson.HAM:
            revoked = {"Remove": SetOrRemoveValue(ActionOption(remote=True))} if share else {}
            return {"Message-class": MessageClassValue(MessageClassOption.ham), "Set": local, **revoked}
        case Lesson.FORGET:
            return {"Remove": local}


def _run(question: Coroutine[Any, Any, Response]) -> Response:
    try:
        question.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the coroutine returned
    raise RuntimeError("aiospamc waits for something")
