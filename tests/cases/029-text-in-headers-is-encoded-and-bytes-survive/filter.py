# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_end(message: Message) -> None:
    message.headers.add("X-Subject", message.subject)
    message.headers.add("X-Mixed", 'from "Jürgen Groß" <j@example.com> with \u2764')
    message.headers.add("X-Copy", message.headers.get("X-Raw") or "")
    message.headers.add("X-Long", "ü" * 60)
