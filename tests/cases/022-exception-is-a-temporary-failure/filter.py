# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_begin(message: Message) -> None:
    message.headers.add("X-Not", "sent")


def filter_end(message: Message) -> None:
    raise RuntimeError("no database")
