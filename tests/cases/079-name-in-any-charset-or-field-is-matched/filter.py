# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_part(message: Message, part: Part) -> None:
    if part.matches(r"\.exe$"):
        part.drop()
        message.headers.add("X-Matched", part.number)
