# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_part(message: Message, part: Part) -> None:
    message.headers.add("X-Part", f"{part.number} {part.content_type} {part.is_shadow}")
