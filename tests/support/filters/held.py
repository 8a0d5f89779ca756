# SPDX-License-Identifier: GPL-3.0-or-later
"""A site filter for tests: the callback that finds a file of its stage's name in the directory `held` waits.

It takes that file away and writes who it is to one with `.process` behind the name; it waits while that is there. Who
loads this file waits for `load`, and writes to `template` when it has done so. At SIGUSR1 a process says to the
multiplexor what stands in `garbage`, asked or not; if nothing stands there, it closes its mouth for good.
"""

import fcntl
import os
import select
import signal
import stat
import time
from pathlib import Path

from defang_worker import Connection, Envelope, Filter, Message, Recipient, Response

HOLD_LIMIT_S = 100.0
HELD = Path(__file__).parent / "held"
STANDARD_ERROR = 2


def tell(name: str) -> None:
    new = HELD / f"{name}.{os.getpid()}"
    new.write_text(str(os.getpid()))
    new.rename(HELD / name)


def wait_at(stage: str) -> Response:
    order = HELD / stage
    if order.exists():
        order.unlink()
        tell(f"{stage}.process")
        waits = HELD / f"{stage}.process"
        deadline = time.monotonic() + HOLD_LIMIT_S
        while waits.exists() and time.monotonic() < deadline:
            # time.sleep is none that libfaketime knows how to do.
            select.select([], [], [], 0.02)
    return Response.ok()


def is_mouth(descriptor: int) -> bool:
    """Whether the multiplexor hears what is written there: a template's socket, or a worker's pipe for answers."""
    try:
        there = os.fstat(descriptor)
    except OSError:
        return False
    if stat.S_ISSOCK(there.st_mode):
        return True
    writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    return stat.S_ISFIFO(there.st_mode) and writes and not os.path.samestat(there, os.fstat(STANDARD_ERROR))


def garble(_signal: int, _frame: object) -> None:
    mouth = next(filter(is_mouth, range(STANDARD_ERROR + 1, 64)))
    garbage = (HELD / "garbage").read_bytes()
    if garbage:
        os.write(mouth, garbage)
    else:
        os.close(mouth)
    tell(f"garbled-{os.getpid()}")


signal.signal(signal.SIGUSR1, garble)
wait_at("load")
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
        message.headers.add("X-Filtered-At", str(time.time()))
