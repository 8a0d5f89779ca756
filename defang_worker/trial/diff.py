# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter changed in a message, as lines that begin with `+`, `-` or a blank.

Header fields are compared as they are, text parts line by line, all others by name, size and checksum: nobody reads a
diff of base64. Pure.
"""

from __future__ import annotations

import difflib
import hashlib
from typing import TYPE_CHECKING, Final

from defang_worker.trial.delivered import DeliveredMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.api.part import Part

_CONTEXT_LINES: Final = 2
# Enough to tell two contents apart at a glance.
_CHECKSUM_DIGITS: Final = 12


def changed_lines(before: bytes, after: bytes, *, with_header: bool = True) -> list[str]:
    """The differences with some lines around them; `...` where lines were left out."""
    old, new = (_readable(content, with_header=with_header) for content in (before, after))
    lines = difflib.unified_diff(old, new, lineterm="", n=_CONTEXT_LINES)
    shown = ["..." if line.startswith("@@") else line for line in lines]
    return shown[2:]


def _readable(content: bytes, *, with_header: bool) -> list[str]:
    message = DeliveredMessage(content)
    lines: list[str] = []
    if with_header:
        fields = (f"{name.decode('ascii', 'replace')}: {_text(value)}" for name, value in message.headers.fields())
        lines = [*(line for field in fields for line in field.split("\n")), ""]
    return [*lines, *(line for part in message.root.message.walk() for line in _part(part))]


def _part(part: Part) -> Iterator[str]:
    """A line on the part, without its number, which changes with those before it; and its lines if it is text."""
    names = f' "{part.filename}"' if part.filename else ""
    if not part.is_leaf:
        yield f"[{part.content_type}{names}]"
    elif part.content_type.startswith("text/"):
        yield f"[{part.content_type}{names}]"
        yield from part.text.splitlines()
    else:
        data = part.data
        checksum = hashlib.sha256(data).hexdigest()[:_CHECKSUM_DIGITS]
        yield f"[{part.content_type}{names}, {len(data)} bytes, SHA-256 {checksum}...]"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
