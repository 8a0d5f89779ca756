# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Limits, Message, Part, Settings

settings = Settings(limits=Limits(max_parts=5))


def filter_begin(message: Message) -> None:
    raise AssertionError("no callback sees such a message")


def filter_part(message: Message, part: Part) -> None:
    raise AssertionError("no callback sees such a message")
