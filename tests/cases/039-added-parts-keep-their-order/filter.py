# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_end(message: Message) -> None:
    message.add_part("text/plain", "first at the end\n")
    message.add_part("text/plain", "second at the end\n", filename="report.txt", disposition="attachment")
    message.add_part("text/html", "<p>top</p>\n", index=0)
