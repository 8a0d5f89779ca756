# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_multipart(message: Message, part: Part) -> None:
    part.quarantine("a container")
