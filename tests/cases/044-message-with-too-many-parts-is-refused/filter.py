# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part, Settings

settings = Settings(max_parts=5)


def filter_begin(message: Message) -> None:
    raise AssertionError("no callback sees such a message")


def filter_part(message: Message, part: Part) -> None:
    raise AssertionError("no callback sees such a message")
