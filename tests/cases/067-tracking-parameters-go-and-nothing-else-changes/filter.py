# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_end(message: Message) -> None:
    message.strip_tracking_params()
