# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_part(message: Message, part: Part) -> None:
    part.filter_through(["/bin/sh", "-c", "echo half; exit 255"])
