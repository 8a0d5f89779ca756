# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign what leaves the site by DKIM (RFC 6376), as the recipients get it: with all that the filter has changed.

Needs dkimpy (`pip install '.[dkim]'` in the source tree), and a key: `openssl genrsa -out /etc/mail/dkim.key 2048`,
readable for the daemons' user alone. What the mail server changes later would break the signature: have it convert
nothing (Sendmail: 8BITMIME to all, no masquerading), and sign only what comes in with its final addresses.
"""

from pathlib import Path

import dkim

from defang_worker import Filter, Message

# Also signed where they are missing, so that nobody can add them later: RFC 6376, section 5.4.
FIELDS = (b"from", b"from", b"to", b"cc", b"subject", b"subject", b"date", b"date", b"reply-to", b"message-id")
CONTENT_FIELDS = (b"mime-version", b"content-type", b"content-type", b"content-transfer-encoding")


class DkimSign(Filter):
    domain = "example.org"
    selector = "mail"
    key_file = "/etc/mail/dkim.key"

    def on_start(self) -> None:
        self.key = Path(self.key_file).read_bytes()

    def filter_wrapup(self, message: Message) -> None:
        if message.envelope.sender.domain != self.domain or message.is_rejected:
            return
        message.headers.delete_all("X-Mailer")  # an edit of ours: signed without it
        field = dkim.sign(
            message.as_delivered(),
            self.selector.encode(),
            self.domain.encode(),
            self.key,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[*FIELDS, *CONTENT_FIELDS],
        )
        name, _, value = field.decode("ascii").partition(":")
        message.headers.insert(name, value.strip().replace("\r\n", "\n"))
