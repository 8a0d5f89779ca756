# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_begin(message: Message) -> None:
    message.quarantine("odd")
    message.quarantine("very odd")
    message.reject("no")
