# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part, Settings

settings = Settings(admin="postmaster@example.org", daemon="mail-filter@example.org", quarantine_report=True)


def filter_part(message: Message, part: Part) -> None:
    message.notify_sender(f"{part.content_type}: größer als erlaubt", subject="Große Teile")
    message.notify_recipients("parts", preamble=False)


def filter_wrapup(message: Message) -> None:
    message.notify_admin("done")
