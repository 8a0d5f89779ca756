# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_part(message: Message, part: Part) -> None:
    if part.extension == ".exe":
        part.drop(warning=f"{part.filename} is gone")
