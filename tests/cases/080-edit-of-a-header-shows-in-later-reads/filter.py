# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_begin(message: Message) -> None:
    message.headers.replace("Subject", "first")
    message.headers.add("Subject", "second")
    message.headers.replace("X-New", "added, for there was none")


def filter_end(message: Message) -> None:
    told = f"{message.subject}; {message.headers.all('Subject')}; {message.headers.get('X-New')}"
    message.headers.insert("X-Told", told)
    message.headers.delete_all("Subject")
