# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_part(message: Message, part: Part) -> None:
    if part.extension == ".exe":
        part.replace_with_url("/var/www/files", "https://files.example.org/", salt="grain", metadata=message.log_id)
