# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the header: refuse by a table of patterns, take out what should not leave, mark what came from outside.

Without a callback for parts the body is not even parsed, so this costs next to nothing.
"""

import re

from defang_worker import Filter, Message

OUR_DOMAIN = "example.org"
# Field, pattern, reply. A field that occurs several times is looked at each time.
REFUSED = (
    ("Subject", re.compile(r"\b(lottery|casino)\b", re.IGNORECASE), "We do not play"),
    ("X-Mailer", re.compile(r"^Bulk Sender \d"), "Bulk mail is not welcome here"),
    ("List-Id", re.compile(r"<offers\.example\.net>"), "Nobody here is on this list"),
)
PRIVATE = ("X-Originating-IP", "X-Internal-Ticket")


class HeaderRules(Filter):
    def filter_begin(self, message: Message) -> None:
        for name, pattern, reply in REFUSED:
            # Encoded words are decoded in `subject` only; the other fields are ASCII in honest mail.
            values = [message.subject] if name == "Subject" else message.headers.all(name)
            if any(pattern.search(value) for value in values):
                message.reject(reply)
                return

    def filter_wrapup(self, message: Message) -> None:
        if message.envelope.sender.domain == OUR_DOMAIN:
            for name in PRIVATE:
                message.headers.delete_all(name)
        else:
            # Whoever sends it from outside does not get to set it.
            message.headers.delete_all("X-From-Outside")
            message.headers.add("X-From-Outside", message.envelope.client_ip)
