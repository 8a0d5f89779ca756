# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Settings

settings = Settings(inline_warnings=True, warning_intro="")


def filter_end(message: Message) -> None:
    message.warn("Größe < 5 & mehr")
