# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_end(message: Message) -> None:
    message.replace_with(b"Subject: not taken\nContent-Type: text/html\nContent-Language: en\n\n<p>new\n")
    message.add_entity(b"Content-Type: text/x-made; a=b\n\nready made\n")
