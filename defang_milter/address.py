# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a milter listens, in libmilter's notation: `unix:PATH`, `local:PATH`, `inet:PORT@HOST`, `inet6:PORT@HOST`.

Read for what libmilter keeps to itself: it takes a port modulo 65536, and tells syslog alone why a socket cannot be
opened. `settings` checks with this what was typed, `listener` opens it.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FAMILIES: Final = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}


class NoAddress(ValueError):  # named for what the text is
    """The text is no address; the message says why."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket in the file system."""

    path: Path

    def why_not(self) -> str | None:
        """Why nothing can listen there, found out by trying; None if something can."""
        if os.path.lexists(self.path) and not self.path.is_socket():
            return "what lies there is no socket"
        problem = _failure(socket.AF_UNIX, os.fspath(self.path))
        if problem is None:
            self.path.unlink()
        return problem


@dataclass(frozen=True, slots=True)
class InetAddress:
    """A TCP port, by number or by its name in /etc/services; an empty host is all of this machine's."""

    kind: str
    port: str
    host: str

    def why_not(self) -> str | None:
        """Why nothing can listen there, found out by trying; None if something can."""
        try:
            found = socket.getaddrinfo(
                self.host or None, self.port, _FAMILIES[self.kind], socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except socket.gaierror as error:
            return error.strerror
        return _failure(_FAMILIES[self.kind], found[0][4])


def parse(text: str) -> UnixAddress | InetAddress:
    """The address in `text`; a word without a colon is a path. Raises NoAddress."""
    kind, colon, rest = text.partition(":")
    if not colon or kind in {"unix", "local"}:
        path = rest if colon else text
        if not path:
            raise NoAddress("a path is missing")
        return UnixAddress(Path(path))
    if kind not in _FAMILIES:
        raise NoAddress(f"{kind!r} is no kind of socket: unix, local, inet or inet6")
    port, _, host = rest.partition("@")
    if not port:
        raise NoAddress("a port is missing")
    if port.lstrip("-").isdecimal() and not 0 < int(port) < 65536:
        raise NoAddress(f"port out of range: {port} (1 to 65535)")
    return InetAddress(kind, port, host.removeprefix("[").removesuffix("]"))


def _failure(family: socket.AddressFamily, address: object) -> str | None:
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        try:
            if family is not socket.AF_UNIX:
                # As libmilter does.
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)  # type: ignore[arg-type]  # as many shapes as families
            trial.listen()
        except OSError as error:
            return error.strerror or str(error)
    return None
