# SPDX-License-Identifier: GPL-3.0-or-later
"""The mark on mail that we submit again, which nobody else can make: a header field with an HMAC over the content.

It tells the worker that a copy was streamed already, or that a message was released from quarantine. It covers type and
body without white space, so that what mail servers do to line ends and folding does not break it. Pure but for HMAC.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from defang_worker.effects.contract import LetterKind
from defang_worker.effects.mark import FIELD

if TYPE_CHECKING:
    from defang_worker.mime.headers import Buffer

_VERSION: Final = "1"
# As long as mail servers usually keep what they cannot deliver.
MAX_AGE_S: Final = 5 * 24 * 3600
# How far the clocks of two hosts may differ that share a secret.
_CLOCK_SKEW_S: Final = 600
_UNKNOWN: Final = "-"
_WORD: Final = re.compile(r"[0-9A-Za-z:._-]+")
_WHITE: Final = b" \t\r\n\0"
_HEADER_END: Final = re.compile(rb"\n\r*+\n")
_CONTENT_TYPE: Final = re.compile(rb"^content-type[ \t]*:(.*(?:\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """Why, when and from whom came what was submitted again."""

    kind: LetterKind
    time_s: int
    """Seconds since 1970."""
    client_ip: str
    """Of the client that had sent the message; empty if unknown."""
    queue_id: str
    """Under which it had come; empty if unknown."""


def digest(raw: Buffer) -> str:
    """What the seal is bound to: the message's type and body, white space left out."""
    match = _HEADER_END.search(raw)
    end = match.end() if match else len(raw)
    content_type = _CONTENT_TYPE.search(raw[:end])
    covered = hashlib.sha256((content_type[1] if content_type else b"").translate(None, _WHITE) + b"\n")
    covered.update(raw[end:].translate(None, _WHITE))
    return covered.hexdigest()


def field(seal: Seal, secret: bytes, content_digest: str) -> bytes:
    """The header field, with its line end."""
    words = [_VERSION, seal.kind.value, str(seal.time_s), _word(seal.client_ip), _word(seal.queue_id)]
    return f"{FIELD}: {' '.join(words)}\n {_code(words, secret, content_digest)}\n".encode()


def opened(value: str, secret: bytes, content_digest: str, now_s: float) -> Seal | None:
    """The seal that the field's value is, or None if it was not made with that secret for that content, or is old."""
    *words, code = value.split() or [""]
    if len(words) != 5:
        return None
    if not hmac.compare_digest(_bytes(code), _code(words, secret, content_digest).encode()):
        return None
    _, kind, time_s, client_ip, queue_id = words
    seal = Seal(kind=LetterKind(kind), time_s=int(time_s), client_ip=_text(client_ip), queue_id=_text(queue_id))
    return seal if -_CLOCK_SKEW_S <= now_s - seal.time_s <= MAX_AGE_S else None


def _code(words: list[str], secret: bytes, content_digest: str) -> str:
    text = " ".join([*words, content_digest])
    return hmac.new(secret, _bytes(text), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else _UNKNOWN


def _text(word: str) -> str:
    return "" if word == _UNKNOWN else word
