# SPDX-License-Identifier: GPL-3.0-or-later
"""A disclaimer below every text that leaves the site, in plain text and in HTML.

Each text keeps its charset and its other bytes. What is signed or encrypted is left alone, for it would break; such a
message and one without any text goes out as it is.
"""

from html import escape

from defang_worker import Filter, Message

OUR_DOMAIN = "example.org"
DISCLAIMER = "Example Ltd., 1 High Street, Exampleton. This mail is for its recipients only."


class Disclaimer(Filter):
    def filter_end(self, message: Message) -> None:
        if message.envelope.sender.domain != OUR_DOMAIN or message.is_rejected:
            return
        # An answer to an answer would otherwise collect one disclaimer for each.
        if any(DISCLAIMER in part.text for part in message.leaves() if part.content_type.startswith("text/")):
            return
        message.append_text(f"-- \n{DISCLAIMER}\n")
        message.append_html(f"<hr><p><small>{escape(DISCLAIMER)}</small></p>")
