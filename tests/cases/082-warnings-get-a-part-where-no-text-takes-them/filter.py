# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part, Settings

settings = Settings(inline_warnings=True)


def filter_part(message: Message, part: Part) -> None:
    part.keep(warning="Look out")
