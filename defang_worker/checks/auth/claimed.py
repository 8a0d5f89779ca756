# SPDX-License-Identifier: GPL-3.0-or-later
"""`is_claimed`: does an Authentication-Results field say that a host of ours wrote it (RFC 8601, sections 2.2 and 5)?

Pure. A field that can be read in one way only is whose it says. In all others our name is looked for in every way in
which a careless program might find it. `api/authentication.py` deletes what came from outside.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from defang_worker.checks.auth.method_result import a_labels
from defang_worker.mime.fields import decode_words

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["is_claimed"]

_BLANKS: Final = re.compile(r"(?:\r?\n(?=[ \t])|[ \t])+")
# RFC 2045's token, and what RFC 8601 adds to it for internationalized mail.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~\x80-\U0010ffff]+")
_QUOTED: Final = re.compile(r'"((?:[^"\\\r\n\0]|\r?\n[ \t]|\\[^\r\n\0])*)"')
_COMMENT_STEP: Final = re.compile(r"[^()\\]+|\\.|[()]|\\\Z", re.DOTALL)
_VERSION: Final = re.compile(r"[0-9]+")
# A carriage return that ends no line, or a NUL: programs end the line there, or the field.
_STRAY: Final = re.compile(r"\r(?!\n)|\0|\n(?![ \t])")
_CONTROLS: Final = re.compile(r"[\x00-\x20\x7f]+")


class _Unreadable(Exception):
    pass


def is_claimed(value: bytes, ids: tuple[str, ...]) -> bool:
    """Whether a field with this value, as it came, counts as of one of these hosts, or is of a later version.

    Versions but 1 are not understood by anybody here, and whose they are neither: section 5.
    """
    text = value.removesuffix(b"\r").decode("utf-8", "surrogateescape")
    if not _STRAY.search(text):
        try:
            name, version = _head(text)
        except _Unreadable:
            pass
        else:
            return version != 1 or _same(name) in {_same(one) for one in ids}
    wanted = _pattern(ids)
    return any(wanted.search(reading) for reading in _readings(text, value))


def _same(name: str) -> str:
    """Names that are equal are the same host's: without case and final dot, with A-labels."""
    return a_labels(name.lower().rstrip(".")).lower()


def _head(text: str) -> tuple[str, int]:
    """Whose it is, and the version; raises _Unreadable unless the field's beginning keeps to the grammar."""
    at = _skip(text, 0)
    if match := _QUOTED.match(text, at):
        name = re.sub(r"\\(.)", r"\1", match[1])
        # What needs its quotes is no host's name, but may be one to a program that strips or decodes it.
        if not _TOKEN.fullmatch(name):
            raise _Unreadable
    elif match := _TOKEN.match(text, at):
        name = match[0]
    else:
        raise _Unreadable
    behind_name = match.end()
    at = _skip(text, behind_name)
    version = 1
    # A version needs something before it, or it would be the end of the name.
    if at > behind_name and (match := _VERSION.match(text, at)):
        version = int(match[0][:9])
        at = _skip(text, match.end())
    if text[at : at + 1] not in (";", ""):
        raise _Unreadable
    return name, version


def _skip(text: str, at: int) -> int:
    """Behind blanks and comments."""
    while True:
        if match := _BLANKS.match(text, at):
            at = match.end()
        elif text.startswith("(", at):
            at = _behind_comment(text, at)
        else:
            return at


def _behind_comment(text: str, at: int) -> int:
    depth = 0
    for step in _COMMENT_STEP.finditer(text, at):
        depth += {"(": 1, ")": -1}.get(step[0], 0)
        if depth == 0:
            return step.end()
    raise _Unreadable


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
