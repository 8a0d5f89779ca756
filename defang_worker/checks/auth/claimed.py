# SPDX-License-Identifier: GPL-3.0-or-later
"""`is_claimed`: does an Authentication-Results field say that a host of ours wrote it (RFC 8601, sections 2.2 and 5)?

Pure. A field that can be read in one way only is whose it says. In all others our name is looked for in every way in
which a careless program might find it. `api/authentication.py` deletes what came from outside.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from defang_worker.checks.auth.cfws import Unreadable
from defang_worker.checks.auth.method_result import a_labels
from defang_worker.checks.auth.payload import read_head
from defang_worker.mime.fields import decode_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.checks.auth.payload import Head

__all__ = ["is_claimed", "is_own"]

# A carriage return that ends no line, or a NUL: programs end the line there, or the field.
_STRAY: Final = re.compile(r"\r(?!\n)|\0|\n(?![ \t])")
_CONTROLS: Final = re.compile(r"[\x00-\x20\x7f]+")


def is_claimed(value: bytes, ids: tuple[str, ...]) -> bool:
    """Whether a field with this value, as it came, counts as of one of these hosts, or is of a later version.

    Versions but 1 are not understood by anybody here, and whose they are neither: section 5.
    """
    text = value.removesuffix(b"\r").decode("utf-8", "surrogateescape")
    if not _STRAY.search(text):
        try:
            head = read_head(text)
        except Unreadable:
            pass
        else:
            return head.version != 1 or is_own(head, ids)
    wanted = _pattern(ids)
    return any(wanted.search(reading) for reading in _readings(text, value))


def is_own(head: Head, ids: tuple[str, ...]) -> bool:
    """Whether a field that begins so is of one of these hosts, and can be understood; what is only taken for theirs, to
    be on the safe side, is not."""
    return head.version == 1 and _same(head.authserv_id) in {_same(one) for one in ids}


def _same(name: str) -> str:
    """Names that are equal are the same host's: without case and final dot, with A-labels."""
    return a_labels(name.lower().rstrip(".")).lower()


@lru_cache(maxsize=8)
def _pattern(ids: tuple[str, ...]) -> re.Pattern[str]:
    """One of the names, as a word of its own."""
    names = "|".join(sorted({re.escape(form) for one in ids for form in (one.lower().rstrip("."), _same(one))}))
    return re.compile(rf"(?<![\w.-])(?:{names})(?![\w-]|\.\w)", re.IGNORECASE)


def _readings(text: str, value: bytes) -> Iterator[str]:
    """What programs that overlook quotes, comments, blanks or encodings may take the text for."""
    for form in (text, decode_words(value)):
        plain = re.sub(r'[\\"]', "", form)
        for one in (plain, _without_comments(plain)):
            yield _CONTROLS.sub(" ", one)
            yield _CONTROLS.sub("", one)
            yield ".".join(label.strip() for label in _CONTROLS.sub(" ", one).split("."))


def _without_comments(text: str) -> str:
    depth = 0
    kept = []
    for piece in re.split(r"([()])", text):
        if piece in ("(", ")"):
            depth = max(0, depth + (1 if piece == "(" else -1))
        elif not depth:
            kept.append(piece)
    return " ".join(kept)
