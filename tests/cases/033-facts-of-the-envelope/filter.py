# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_begin(message: Message) -> None:
    envelope = message.envelope
    facts = (
        envelope.client_ip,
        envelope.client_name,
        envelope.connecting_ip,
        envelope.helo,
        envelope.sender.bare,
        envelope.sender.domain,
        envelope.sender_args,
        [(rcpt.address.bare, rcpt.mailer, rcpt.host, rcpt.addr) for rcpt in envelope.recipients],
        envelope.queue_id,
        envelope.transaction_id,
        envelope.macros["j"],
        envelope.was_relayed,
        message.message_id,
        message.subject,
        message.size,
        message.log_id,
        message.suspicious_body,
    )
    for fact in facts:
        message.headers.add("X-Fact", repr(fact))
