# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams by domain, quarantines disk images and whole messages on request, tells the sender; for the system tests.

The file `submit_to` beside it says where mails go, and the quarantine lies there too.
"""

from pathlib import Path

from defang_worker import Filter, Message, Part, Settings

HOME = Path(__file__).parent
TARGET = HOME / "submit_to"


class Site(Filter):
    settings = Settings(
        admin="admin@example.net",
        daemon="filter@example.net",
        submit_to=TARGET.read_text() if TARGET.exists() else "/nonexistent",
        quarantine_dir=str(HOME / "quarantine"),
        quarantine_report=True,
    )

    def filter_begin(self, message: Message) -> None:
        if message.stream_by_domain():
            return
        message.headers.add("X-Filtered", message.resent.queue_id if message.resent else "directly")
        if "keep all" in message.subject:
            message.quarantine("wanted")
            message.discard()

    def filter_part(self, message: Message, part: Part) -> None:
        if part.matches(r"\.iso$"):
            part.quarantine("disk image", warning="A disk image is kept.")
            message.notify_sender("Your disk image is kept: größer geht es nicht.", subject="Behalten")
