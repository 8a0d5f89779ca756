# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Settings

settings = Settings(relay_key_file=__file__)  # any file that nobody outside knows


def filter_begin(message: Message) -> None:
    envelope = message.envelope
    message.headers.add(
        "X-Client", f"{envelope.client_ip} {envelope.was_relayed} {'X-Defang-Relay' in message.headers}"
    )
