# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling whoever supervises this process how it is, by sd_notify(3)'s protocol: lines in a datagram.

Nothing is told, and nothing is wrong, where NOTIFY_SOCKET names no supervisor. Called by `daemon`.
"""

import logging
import os
import socket
from typing import Final

_log: Final = logging.getLogger("defang.host")


def tell(state: str) -> None:
    """Sends `state`, such as "READY=1". A supervisor that cannot be reached is logged: it will find out by itself."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # "@" stands for the byte 0 that begins a name in Linux's abstract namespace.
    where = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as supervisor:
            supervisor.connect(where)
            supervisor.send(state.encode())
    except OSError as error:
        _log.warning("%s: %s could not be told: %s", address, state, error.strerror or error)
