# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_wrapup(message: Message) -> None:
    for recipient in message.envelope.recipients:
        if "NOTIFY=NEVER" in recipient.esmtp_args:
            message.delete_recipient(recipient.address)
    message.add_recipient("<dave smith@example.org>")
    message.set_sender("<>")
    message.mta_quarantine("held\nfor review")
