# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part, Settings

settings = Settings(admin="postmaster@example.org", daemon="mail-filter@example.org", quarantine_report=True)


def filter_part(message: Message, part: Part) -> None:
    if part.matches(r"\.iso$"):
        part.quarantine("disk image", warning=f"{part.filename} is kept by the postmaster.")
