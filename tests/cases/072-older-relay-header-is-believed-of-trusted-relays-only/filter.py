# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Settings

settings = Settings(trusted_relays=("198.51.100.0/24",))


def filter_begin(message: Message) -> None:
    envelope = message.envelope
    message.headers.add("X-Client", f"{envelope.client_ip} {envelope.connecting_ip} {envelope.was_relayed}")
