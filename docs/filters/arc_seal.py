# SPDX-License-Identifier: GPL-3.0-or-later
"""Seals mail that is changed here and goes on to other sites (ARC, RFC 8617): lists, forwarding, a footer.

A change breaks the author's DKIM signature, and mail that goes on comes from another host. The seal tells the next site
what held when the mail came here. Needs `make install EXTRAS=spf,dkim` and an RSA key, as for DKIM, published as
`SELECTOR._domainkey.DOMAIN`: `openssl genrsa -out /etc/mail/dkim.key 2048`, readable for the daemons' user alone.
"""

from defang_worker import Filter, Message
from defang_worker.checks import Arc, ArcSealer, DkimKey, Dmarc


class ArcSeal(Filter):
    domain = "lists.example.org"
    selector = "arc"
    key_file = "/etc/mail/dkim.key"
    footer = "\n-- \nThis mail came through lists.example.org.\n"
    # A chain that could not be verified is better deferred than sealed or left as it is.
    arc = Arc(timeout_s=20, on_failure="tempfail")
    dmarc = Dmarc(timeout_s=25, on_failure="tempfail")

    def on_start(self) -> None:
        self.sealer = ArcSealer(DkimKey.from_file(self.domain, self.selector, self.key_file))

    def filter_end(self, message: Message) -> None:
        message.append_text(self.footer)

    def filter_wrapup(self, message: Message) -> None:
        # The checks see the message as it came, the seal as it goes.
        results = message.run_checks(self.arc, self.dmarc)
        message.add_authentication_results(*results)
        if not message.is_rejected:
            self.sealer.seal(message, results[self.arc])
