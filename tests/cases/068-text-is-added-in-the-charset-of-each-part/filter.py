# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_end(message: Message) -> None:
    message.append_text("Straße", all=False)
    message.append_html("<p>Straße</p>")
