# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs of `Message` that change its body: warnings, texts, HTML and parts that are added or removed.

They only record, in `body.py`, and do nothing once the body is final. What takes more than a few lines is in modules
that are loaded when a filter first asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from defang_worker.mime import compose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.body import Body
    from defang_worker.api.envelope import Envelope
    from defang_worker.api.message import Message


class MessageBody:
    """What a filter may do with the body of a message as a whole; `Part` has what it may do with one part."""

    __slots__ = ()

    body: Body
    envelope: Envelope

    @property
    def _whole(self) -> Message:
        # Half of a Message is a Message whenever it is used; the type says so here, and nowhere else.
        return cast("Message", self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the readers will be told, in a text part of its own."""
        return tuple(self.body.warnings)

    def warn(self, text: str) -> None:
        """Adds a warning for the readers."""
        if self.body.may_change("Message.warn"):
            self.body.warnings.append(text)

    def append_text(self, text: str, *, all: bool = False, prepend: bool = False) -> int:  # noqa: A002
        """Adds a paragraph to the first text/plain that is shown, with `all` to every one, those in attached messages
        too; how many parts got it.

        Written in the charset of each part, which becomes UTF-8 if it lacks a character; before the text with
        `prepend`. Attachments, signed and encrypted parts are left alone, as are texts that could only be guessed at.
        """
        return self._add("Message.append_text", text, is_html=False, everywhere=all, prepend=prepend)

    def append_html(self, html: str, *, all: bool = False, prepend: bool = False) -> int:  # noqa: A002
        """Adds HTML at the end of the body (or its start) of the first text/html, or of all; like `append_text`."""
        return self._add("Message.append_html", html, is_html=True, everywhere=all, prepend=prepend)

    def _add(self, verb: str, text: str, *, is_html: bool, everywhere: bool, prepend: bool) -> int:
        if not self.body.may_change(verb):
            return 0
        from defang_worker.api import additions  # noqa: PLC0415  # for filters that add texts

        return additions.to_message(self._whole, text, is_html=is_html, everywhere=everywhere, prepend=prepend)

    def remove_redundant_html(self) -> bool:
        """Drops the HTML wherever plain text stands beside it in a multipart/alternative; whether there was any."""
        if not self.body.may_change("Message.remove_redundant_html"):
            return False
        from defang_worker.api import additions  # noqa: PLC0415

        return additions.remove_redundant_html(self._whole)

    def strip_tracking_params(self, names: Sequence[str] = ("utm_*",)) -> int:
        """Takes query parameters of these names (`*` and `?` as in file names) out of the web addresses in all texts
        and HTML; how many addresses it changed.

        No other character changes. Attachments, signed and encrypted parts are left alone.
        """
        if not self.body.may_change("Message.strip_tracking_params"):
            return 0
        from defang_worker.api import additions  # noqa: PLC0415

        return additions.strip_tracking(self._whole, names)

    @property
    def is_modified(self) -> bool:
        """Whether the body will be written anew, as far as has been asked for by now."""
        return self.body.is_changed

    @property
    def takes_eight_bit(self) -> bool:
        """Whether the client announced 8-bit text (BODY=8BITMIME), so that new text may have it, too."""
        return any(word.upper() == "BODY=8BITMIME" for word in self.envelope.sender_args)

    def add_part(
        self,
        content_type: str,
        content: str | bytes,
        *,
        filename: str = "",
        disposition: str = "inline",
        charset: str = "utf-8",
        index: int = -1,
    ) -> None:
        """Adds a part to the message: before the index-th of those that came (from 0), or with -1 at the end.

        Charset and transfer encoding are chosen to fit. A message that is no multipart/mixed becomes one.
        """
        if self.body.may_change("Message.add_part"):
            new = compose.entity(
                content_type,
                content,
                filename=filename,
                disposition=disposition,
                charset=charset,
                eight_bit=self.takes_eight_bit,
            )
            self.body.add(new, index)

    def add_entity(self, entity: bytes, *, index: int = -1) -> None:
        """Adds a part that is made already, header, blank line and encoded body, with LF line ends.

        Where it goes is told as in `add_part`. `email.message.EmailMessage.as_bytes()` makes such bytes.
        """
        if self.body.may_change("Message.add_entity"):
            self.body.add(entity, index)

    def replace_with(self, entity: bytes) -> None:
        """Puts a new body in the place of the whole old one; of the entity's fields only Content-* are taken.

        Parts that were added stay; what was done to parts of the old body is lost.
        """
        if self.body.may_change("Message.replace_with"):
            from defang_worker.mime.header_edit import header_with  # noqa: PLC0415  # few filters want this
            from defang_worker.mime.parse import parse  # noqa: PLC0415

            new = parse(entity).root
            self._whole.root.put(header_with(new, {}, b"\n", content_only=True) + b"\n" + new.raw_body)

    def rebuild(self) -> None:
        """Has the message written anew so that it can be read in one way only, even if nothing else changes."""
        if self.body.may_change("Message.rebuild"):
            self.body.one_reading = True
