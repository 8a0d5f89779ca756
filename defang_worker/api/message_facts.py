# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a message without looking at its parts; the half of `Message` that only tells.

Nothing here changes anything. What decides stands in `message_verdict.py`, what edits the body in `message_body.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from defang_common.wire.spool import INPUTMSG
from defang_worker.api.words import to_text
from defang_worker.mime.fields import decode_words
from defang_worker.mime.headers import Headers as EntityHeaders
from defang_worker.mime.headers import unfold

if TYPE_CHECKING:
    from pathlib import Path

    from defang_common.wire.commands import Commands
    from defang_worker.api.envelope import Envelope
    from defang_worker.api.headers import Headers
    from defang_worker.api.settings import Settings
    from defang_worker.mime.headers import Buffer
    from defang_worker.mime.tree import Tree

_HEADER_END: Final = re.compile(rb"\n\r*+\n")
# A blank line at the beginning: the message has no header, and what follows is text, whatever it looks like.
_NO_HEADER: Final = re.compile(rb"\r*+\n")
_NO_QUEUE_ID: Final = "NOQUEUE"


class MessageFacts:
    """Size, subject, names and header of a message, as properties."""

    __slots__ = ()

    raw: Buffer
    headers: Headers
    envelope: Envelope
    _commands: Commands
    settings: Settings
    _tree: Tree | None

    if TYPE_CHECKING:

        def _parsed(self) -> Tree: ...

    @property
    def state(self) -> dict[Any, Any]:
        """A dictionary of the filter's own that lives as long as the message: that of `envelope.state`."""
        return self.envelope.state

    @property
    def session_state(self) -> dict[Any, Any]:
        """A dictionary of the filter's own that lives as long as the SMTP session."""
        return self.envelope.session_state

    @property
    def size(self) -> int:
        """The length of the message as it came, in bytes."""
        return len(self.raw)

    @property
    def raw_path(self) -> Path:
        """The file with the message as it came, for programs that want one; nobody may write to it."""
        return self.envelope.workdir / INPUTMSG

    @property
    def subject(self) -> str:
        """The first Subject, decoded; empty if there is none."""
        found = self.headers.raw("Subject")
        return decode_words(unfold(found[0])) if found else ""

    @property
    def message_id(self) -> str:
        """The Message-ID as given, with its angle brackets; empty if there is none."""
        return self.headers.get("Message-ID", "") or ""

    @property
    def log_id(self) -> str:
        """What names the message in logs: the queue ID, else the Message-ID, else NOQUEUE."""
        return self.envelope.queue_id or to_text(self._commands.message_id) or _NO_QUEUE_ID

    @property
    def suspicious_headers(self) -> bool:
        """Whether a header field came with a carriage return that ends no line."""
        return self._commands.suspicious_headers

    @property
    def suspicious_body(self) -> bool:
        """Whether the body came with a carriage return that ends no line, or with a NUL."""
        return self._commands.suspicious_body

    def headers_as_they_came(self) -> list[tuple[bytes, bytes]]:
        """The header fields of the message, name and raw value, whatever the filter has made of them since."""
        if self._tree is not None:
            headers = self._tree.root.headers
        else:
            at_most = self.settings.limits.max_header_fields
            headers = EntityHeaders(self.raw, 0, self._header_end(), max_fields=at_most)
            if len(headers.fields) >= at_most:
                # There may be more, such as a second From, that nobody would look at: then the message is refused.
                headers = self._parsed().root.headers
        return [(field.name, self.raw[field.value_start : field.end].lstrip(b" ")) for field in headers.fields]

    def _header_end(self) -> int:
        if _NO_HEADER.match(self.raw):
            return 0
        match = _HEADER_END.search(self.raw)
        return match.start() + 1 if match else len(self.raw)
