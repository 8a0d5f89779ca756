# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_part(message: Message, part: Part) -> None:
    message.headers.add("X-Leaf", f"{part.number} {part.content_type} {part.view}")


def filter_multipart(message: Message, part: Part) -> None:
    message.headers.add("X-Container", f"{part.number} {part.content_type}")
