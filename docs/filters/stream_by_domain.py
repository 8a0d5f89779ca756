# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of their own for some domains: each domain of a message's recipients gets a message of its own.

The copies come back through the mail server; for Postfix, `non_smtpd_milters` has to name the milter, too.
"""

from defang_worker import Filter, Message, Part

# Which attachments a domain does not want; all others want the last.
UNWANTED = {
    "law.example.org": r"\.(exe|scr|docm|xlsm)$",
    "lab.example.org": r"\.scr$",
}
OTHERWISE = r"\.(exe|scr)$"


class StreamByDomain(Filter):
    def filter_begin(self, message: Message) -> None:
        if message.stream_by_domain():
            return  # copies take its place, and no other callback is called
        domain = message.envelope.recipients[0].address.domain
        message.scratch["unwanted"] = UNWANTED.get(domain, OTHERWISE)

    def filter_part(self, message: Message, part: Part) -> None:
        if part.matches(str(message.scratch["unwanted"])):
            part.drop(warning=f"The attachment {part.filename} was removed.")
