# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_wrapup(message: Message) -> None:
    done = message.append_text("too late"), message.append_html("too late"), message.strip_tracking_params()
    message.rebuild()
    message.replace_with(b"\ntoo late")
    url = message.root.children[0].replace_with_url("/var/www", "https://files.example.org")
    message.headers.add("X-Done", f"{done} {url!r} {message.is_modified}")
