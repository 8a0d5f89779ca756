# SPDX-License-Identifier: GPL-3.0-or-later
"""Each recipient has a policy: some refuse strangers at RCPT, some want no attachments, some get mail as it comes.

Needs `defang-milter -t`. Recipients with the same policy stay together: one copy of the message for each policy.
"""

from collections import defaultdict

from defang_worker import Address, Envelope, Filter, Message, Part, Recipient, Response

FRIENDS = {"example.org", "example.com"}
POLICIES = {"director@example.org": "friends only", "archive@example.org": "as it comes"}
USUAL = "no programs"


def policy_of(address: Address) -> str:
    return POLICIES.get(address.bare.lower(), USUAL)


class PerRecipient(Filter):
    def filter_recipient(self, envelope: Envelope, recipient: Recipient) -> Response | None:
        # The only place where one recipient can be refused and the others not.
        if policy_of(recipient.address) == "friends only" and envelope.sender.domain not in FRIENDS:
            return Response.reject("This recipient takes mail from known senders only", code=550, dsn="5.7.1")
        return None

    def filter_begin(self, message: Message) -> None:
        groups: dict[str, list[str]] = defaultdict(list)
        for recipient in message.envelope.recipients:
            groups[policy_of(recipient.address)].append(recipient.address)
        if not message.stream(list(groups.values())):
            message.scratch["policy"] = next(iter(groups))

    def filter_part(self, message: Message, part: Part) -> None:
        if message.scratch["policy"] != "as it comes" and part.matches(r"\.(exe|scr|js|vbs)[. ]*$"):
            part.drop(warning=f"The attachment {part.filename} was removed.")
