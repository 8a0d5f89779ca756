# SPDX-License-Identifier: GPL-3.0-or-later
"""`behind_cfws`: past blanks, folds and comments of a header field (RFC 5322, section 3.2.2). Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Unreadable", "behind_cfws"]

_BLANKS: Final = re.compile(r"(?:\r?\n(?=[ \t])|[ \t])+")
_COMMENT_STEP: Final = re.compile(r"[^()\\]+|\\.|[()]|\\\Z", re.DOTALL)


class Unreadable(Exception):
    """A field does not keep to its grammar."""


def behind_cfws(text: str, at: int = 0) -> int:
    """Where the first character lies that is neither blank nor in a comment; raises Unreadable for an open comment."""
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
    raise Unreadable("a comment without end")
