# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps programs for the postmaster, tells sender and postmaster, and keeps the whole of mail with a forged line end.

`defang-worker quarantine list` shows what is kept, `release` sends it after all.
"""

from defang_worker import Filter, Message, Part, Settings

PROGRAMS = r"\.(exe|scr|js|vbs|iso|img|lnk)$"


class Quarantine(Filter):
    settings = Settings(
        admin="postmaster@example.org",
        daemon="mail-filter@example.org",
        quarantine_report=True,
    )

    def filter_begin(self, message: Message) -> None:
        if message.suspicious_headers:
            message.quarantine("a line end in the header that is none")
            message.discard()

    def filter_part(self, message: Message, part: Part) -> None:
        if part.matches(PROGRAMS):
            part.quarantine("program", warning=f"{part.filename} is kept by the postmaster.")
            message.notify_sender(f"Your attachment {part.filename} was kept back. Ask us if it is needed.")
