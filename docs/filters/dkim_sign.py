# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign what leaves the site by DKIM (RFC 6376), as the recipients get it: with all that the filter has changed.

Needs `make install EXTRAS=dkim`, and a key: `openssl genrsa -out /etc/mail/dkim.key 2048`, readable for the daemons'
user alone. What the mail server changes later would break the signature: have it convert nothing (Sendmail: 8BITMIME to
all, no masquerading), and sign only what comes in with its final addresses.
"""

from defang_worker import Filter, Message
from defang_worker.checks import DkimKey, DkimSigner


class DkimSign(Filter):
    domain = "example.org"
    selector = "mail"
    key_file = "/etc/mail/dkim.key"

    def on_start(self) -> None:
        # A second key, for Ed25519, is one more argument: both sign.
        self.signer = DkimSigner(DkimKey.from_file(self.domain, self.selector, self.key_file))

    def filter_wrapup(self, message: Message) -> None:
        if message.envelope.sender.domain != self.domain or message.is_rejected:
            return
        message.headers.delete_all("X-Mailer")  # an edit of ours: signed without it
        self.signer.sign(message)
