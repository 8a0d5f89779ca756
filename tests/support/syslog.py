# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the system's logger on a machine that has none, so that what only goes to syslog can be read.

Debian's mimedefang, Sendmail and Postfix write to /dev/log. Where somebody listens there already, nothing is done.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEV_LOG = Path("/dev/log")
DATAGRAM_BYTES = 64 * 1024
STOP_POLL_S = 0.2


def _somebody_listens() -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(DEV_LOG))
        except OSError:
            return False
    return True


@contextmanager
def syslog_kept_in(log: Path) -> Iterator[None]:
    """While inside, what programs send to syslog is appended to `log`, if no logger runs; needs root."""
    if _somebody_listens():
        yield
        return
    DEV_LOG.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(DEV_LOG))
        DEV_LOG.chmod(0o666)
        inbox.settimeout(STOP_POLL_S)
        stopped = threading.Event()
        writer = threading.Thread(target=_copy, args=(inbox, log, stopped), daemon=True)
        writer.start()
        try:
            yield
        finally:
            stopped.set()
            writer.join()
            DEV_LOG.unlink(missing_ok=True)


def _copy(inbox: socket.socket, log: Path, stopped: threading.Event) -> None:
    with log.open("ab", buffering=0) as out:
        while not stopped.is_set():
            try:
                out.write(inbox.recv(DATAGRAM_BYTES).rstrip(b"\n\0") + b"\n")
            except TimeoutError:
                continue
