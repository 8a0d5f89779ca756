# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part, Settings

settings = Settings(ambiguity="log-only")


def filter_part(message: Message, part: Part) -> None:
    message.headers.add("X-Part", f"{part.content_type} {part.data!r}")
