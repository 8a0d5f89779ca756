# SPDX-License-Identifier: GPL-3.0-or-later
"""Does what the author's domain asks for by DMARC (RFC 9989): refuses what it wants refused, and marks the suspicious.

What was found stands in Authentication-Results, without fields that others wrote in our name. Needs
`make install EXTRAS=spf,dkim`, and belongs on the host that mail from outside reaches first. Lists break signatures
and have clients of their own: those that subscribers here depend on stand in `lists`, and in `sealers` those that tell
by ARC (RFC 8617) that the mail was authentic when it came to them.
"""

from defang_worker import Filter, Message
from defang_worker.checks import Arc, Dmarc, DmarcPolicy, DmarcResult, DmarcWord, ReverseName


class DmarcEnforcement(Filter):
    dmarc = Dmarc(timeout_s=25, on_failure="tempfail")
    # Neither is a reason to keep anybody waiting.
    arc = Arc(timeout_s=20, on_failure="ignore")
    client = ReverseName(timeout_s=10, on_failure="ignore")
    lists = ("lists.example.net",)
    sealers = ("lists.example.org",)

    def filter_begin(self, message: Message) -> None:
        results = message.run_checks(self.dmarc, self.arc, self.client)
        result = results[self.dmarc]
        message.add_authentication_results(*results)
        message.log_event("dmarc", result.word, result.domain, result.disposition)
        if result.word is DmarcWord.PERMERROR:
            message.reject("A message needs one From field, with one domain", dsn="5.6.0")
        elif result.disposition is DmarcPolicy.NONE:
            return
        elif results[self.arc].vouches(result.domain, self.sealers):
            message.headers.add("X-DMARC", f"{result.word}, but it was authentic before {results[self.arc].domains[0]}")
        elif self.is_of_a_list(message, result):
            message.headers.add("X-DMARC", f"{result.word}, from a list")
        elif result.disposition is DmarcPolicy.REJECT:
            message.reject(f"DMARC: {result.domain} asks for mail such as this to be refused", code=550, dsn="5.7.26")
        else:
            message.headers.add("X-DMARC", f"{result.word}, {result.domain} is suspicious of it")

    def is_of_a_list(self, message: Message, result: DmarcResult) -> bool:
        return message.envelope.sender.domain in self.lists and result.spf is not None and result.spf.word == "pass"
