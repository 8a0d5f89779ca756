# SPDX-License-Identifier: GPL-3.0-or-later
"""A delivered message, parsed: what a test of a filter asserts on.

The objects are those of the filter API, though nothing can be done with them any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from defang_common.wire.commands import Commands
from defang_worker.api.message import Message
from defang_worker.api.settings import Settings

if TYPE_CHECKING:
    from defang_worker.api.headers import Headers
    from defang_worker.api.part import Part

# Earlier checks may have left wishes for a message in its directory; this one has neither.
_NO_DIRECTORY: Final = "/nonexistent"


class DeliveredMessage:
    """Header and parts of a message that the mail server delivers."""

    __slots__ = ("_message",)

    def __init__(self, content: bytes) -> None:
        self._message = Message(Commands(), content.replace(b"\r\n", b"\n"), _NO_DIRECTORY, Settings())

    @property
    def headers(self) -> Headers:
        """The message's own header fields."""
        return self._message.headers

    @property
    def subject(self) -> str:
        """The first Subject, decoded; empty if there is none."""
        return self._message.subject

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts with a body, in order."""
        return tuple(self._message.leaves())

    @property
    def root(self) -> Part:
        """The message as a part: its only one, or the container of all others."""
        return self._message.root
