# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_end(message: Message) -> None:
    for number in range(100):
        message.headers.add("X-Many", f"{number} {'x' * 1000}")
