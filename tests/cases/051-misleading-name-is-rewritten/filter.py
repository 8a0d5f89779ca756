# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part, Settings

settings = Settings(ambiguity="default")


def filter_part(message: Message, part: Part) -> None:
    pass
