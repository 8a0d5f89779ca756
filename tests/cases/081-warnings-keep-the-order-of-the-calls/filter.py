# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_part(message: Message, part: Part) -> None:
    if part.is_leaf:
        message.warn(f"before {part.number}")
        part.replace(f"instead of {part.number}", warning=f"{part.number} is replaced")
