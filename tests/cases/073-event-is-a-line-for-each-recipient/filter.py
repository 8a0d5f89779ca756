# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Settings

settings = Settings(event_log="syslog:mail")


def filter_end(message: Message) -> None:
    message.log_event("mail in", 1.5, "a, b")
    message.log_event("all", per_message=True)
