# SPDX-License-Identifier: GPL-3.0-or-later
"""What a daemon tells the service manager that started it (sd_notify(3)): ready, reloading, stopping, status, alive.

A datagram to the socket that NOTIFY_SOCKET names; without one nothing happens, and nothing is wrong. Called by
`daemon` and by those who serve.
"""

import logging
import os
import socket
import time
from typing import Final

_log: Final = logging.getLogger("defang.host")

_VARIABLE: Final = "NOTIFY_SOCKET"
_MICROSECONDS: Final = 1_000_000
# systemd's own advice: twice in the time after which it ends a silent service.
_SIGNS_IN_TIMEOUT: Final = 2


def is_wanted() -> bool:
    """Whether somebody listens at all."""
    return bool(os.environ.get(_VARIABLE))


def ready() -> None:
    """The service takes requests, at its start or after a reload."""
    tell("READY=1")


def reloading() -> None:
    """A reload has begun; `ready` ends it."""
    tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def stopping() -> None:
    """The service has begun to stop."""
    tell("STOPPING=1")


def status(text: str) -> None:
    """A line on how the service does, for `systemctl status`."""
    tell("STATUS=" + text.replace("\n", " "))


def alive() -> None:
    """The sign that the watchdog waits for."""
    tell("WATCHDOG=1")


def watchdog_interval_s() -> float | None:
    """How often `alive` is to be called, in seconds; None if nobody watches this process."""
    try:
        timeout_us = int(os.environ["WATCHDOG_USEC"])
        watched = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    if timeout_us <= 0 or watched != os.getpid():
        return None
    return timeout_us / _MICROSECONDS / _SIGNS_IN_TIMEOUT


def tell(state: str) -> None:
    """Sends `state`, such as "READY=1". A manager that cannot be reached is logged: it will find out by itself."""
    address = os.environ.get(_VARIABLE)
    if not address:
        return
    # "@" stands for the byte 0 that begins a name in Linux's abstract namespace.
    where = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            # One that does not read must not stop us.
            manager.setblocking(False)
            manager.sendto(state.encode("utf-8", "backslashreplace"), where)
    except OSError as error:
        _log.warning("%s: %s could not be told: %s", address, state.partition("\n")[0], error.strerror or error)
