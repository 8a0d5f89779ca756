# SPDX-License-Identifier: GPL-3.0-or-later
"""A site filter for tests: each callback waits while there is a file of its stage's name in the directory `held`.

Beside that file it says which process waits, and `template` has the process that has loaded this file.
"""

import os
import time
from pathlib import Path

from defang_worker import Connection, Envelope, Filter, Message, Recipient, Response

HOLD_LIMIT_S = 100.0
HELD = Path(__file__).parent / "held"


def tell(name: str) -> None:
    new = HELD / f"{name}.{os.getpid()}"
    new.write_text(str(os.getpid()))
    new.rename(HELD / name)


def wait_at(stage: str) -> Response:
    file = HELD / stage
    if file.exists():
        tell(f"{stage}.worker")
        deadline = time.monotonic() + HOLD_LIMIT_S
        while file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    return Response.ok()


tell("template")


class HeldFilter(Filter):
    """Says yes in the end."""

    def filter_relay(self, connection: Connection) -> Response:
        return wait_at("connect")

    def filter_helo(self, connection: Connection) -> Response:
        return wait_at("helo")

    def filter_sender(self, envelope: Envelope) -> Response:
        return wait_at("mail")

    def filter_recipient(self, envelope: Envelope, recipient: Recipient) -> Response:
        return wait_at("rcpt")

    def filter_begin(self, message: Message) -> None:
        wait_at("scan")
        message.headers.add("X-Filtered", "yes")
