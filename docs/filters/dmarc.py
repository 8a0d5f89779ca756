# SPDX-License-Identifier: GPL-3.0-or-later
"""Does what the author's domain asks for by DMARC (RFC 9989): refuses what it wants refused, and marks the suspicious.

Needs `pip install 'defang[spf,dkim]'`, and belongs on the host that mail from outside reaches first. Lists break
signatures and have clients of their own: those that subscribers here depend on stand in `lists`.
"""

from defang_worker import Filter, Message
from defang_worker.checks import Dmarc, DmarcPolicy, DmarcWord


class DmarcEnforcement(Filter):
    dmarc = Dmarc(timeout_s=25, on_failure="tempfail")
    lists = ("lists.example.net",)

    def filter_begin(self, message: Message) -> None:
        result = message.run_checks(self.dmarc)[self.dmarc]
        message.log_event("dmarc", result.word, result.domain, result.disposition)
        if result.word is DmarcWord.PERMERROR:
            message.reject("A message needs one From field, with one domain", dsn="5.6.0")
        elif result.disposition is DmarcPolicy.NONE:
            return
        elif message.envelope.sender.domain in self.lists and result.spf is not None and result.spf.word == "pass":
            message.headers.add("X-DMARC", f"{result.word}, from a list")
        elif result.disposition is DmarcPolicy.REJECT:
            message.reject(f"DMARC: {result.domain} asks for mail such as this to be refused", code=550, dsn="5.7.26")
        else:
            message.headers.add("X-DMARC", f"{result.word}, {result.domain} is suspicious of it")
