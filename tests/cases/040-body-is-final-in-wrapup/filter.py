# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_wrapup(message: Message) -> None:
    message.add_part("text/plain", "too late\n")
    message.warn("too late")
    message.root.children[0].drop()
    message.headers.add("X-Wrapup", "yes")
