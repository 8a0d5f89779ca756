# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Filter, Message, Part


class Visits(Filter):
    """Tells in header fields which callbacks were called, and with what."""

    def filter_begin(self, message: Message) -> None:
        message.headers.add("X-Visit", f"begin {message.root.content_type}")

    def filter_part(self, message: Message, part: Part) -> None:
        message.headers.add("X-Visit", f"part {part.number} {part.content_type} {part.filename}")

    def filter_multipart(self, message: Message, part: Part) -> None:
        message.headers.add("X-Visit", f"multipart {part.number} {part.content_type}")

    def filter_end(self, message: Message) -> None:
        message.headers.add("X-Visit", f"end {len(list(message.leaves()))} leaves")

    def filter_wrapup(self, message: Message) -> None:
        message.headers.add("X-Visit", "wrapup")
