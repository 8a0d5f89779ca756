# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a daemon listens, in libmilter's notation, and whether it does."""

import socket
from pathlib import Path
from typing import Any, Final

_FAMILIES: Final = {"inet": (socket.AF_INET, "127.0.0.1"), "inet6": (socket.AF_INET6, "::1")}


def unix_path(address: str) -> Path | None:
    """The path of a unix socket's address (`unix:PATH`, `local:PATH`, or a path); None for another's."""
    kind, colon, rest = address.partition(":")
    if colon and kind in _FAMILIES:
        return None
    return Path(rest if colon and kind in ("unix", "local") else address)


def why_silent(address: str, *, limit_s: float) -> str | None:
    """Why no connection to the address can be had within that time; None if one can."""
    path = unix_path(address)
    where: Any
    try:
        if path is not None:
            family, where = socket.AF_UNIX, str(path)
        else:
            kind, _, rest = address.partition(":")
            family, loopback = _FAMILIES[kind]
            port, _, host = rest.partition("@")
            where = socket.getaddrinfo(host or loopback, port, family, socket.SOCK_STREAM)[0][4]
        with socket.socket(family) as probe:
            probe.settimeout(limit_s)
            probe.connect(where)
    except OSError as error:
        return f"{address} accepts no connection: {error.strerror or error}"
    return None
