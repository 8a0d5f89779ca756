# SPDX-License-Identifier: GPL-3.0-or-later
"""What is given to a scanner: the message as it came, and every content in it, of every reading.

A scanner reads mail by itself, and finds what one reading of it has; mail programs have others. So each part goes to it
decoded, too, those that only other readings have (`Part.is_shadow`) and those that the filter dropped, for another
check may bring them back. Archives are opened by the scanner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.mime.headers import Buffer

__all__ = ["Item", "items_of"]


@dataclass(frozen=True, slots=True)
class Item:
    """Bytes to be scanned."""

    part: str
    """The part's number; empty for the whole message."""
    data: Buffer


def items_of(message: Message, *, parts: bool) -> list[Item]:
    """The message, and with `parts` all contents in it that are not empty, each once."""
    whole = Item("", message.raw)
    if not parts:
        return [whole]
    _ = message.root  # which has the parts known
    contents: dict[bytes, str] = {}
    for part in message.known_parts:
        if part.entity.is_leaf and (content := part.entity.content):
            contents.setdefault(content, part.number)
    return [whole, *(Item(number, content) for content, number in contents.items())]
