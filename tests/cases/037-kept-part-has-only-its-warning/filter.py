# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part, Settings

settings = Settings(admin="help@example.org", warning_index=-1, warning_intro="Ask {admin}.\n")


def filter_part(message: Message, part: Part) -> None:
    if part.filename:
        part.drop()
        part.keep(warning=f"{part.filename} may have macros.")
