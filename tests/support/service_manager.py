# SPDX-License-Identifier: GPL-3.0-or-later
"""A service manager's end of NOTIFY_SOCKET, for daemons that tests start."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

LIMIT_S = 60


class ServiceManager:
    """Listens in a directory; `environment` is for the daemon. Any user may write to it, as to systemd's."""

    def __init__(self, directory: Path, *, watchdog_s: float | None = None) -> None:
        path = directory / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(LIMIT_S)
        self._socket.bind(str(path))
        path.chmod(0o777)
        self.environment = {"NOTIFY_SOCKET": str(path)}
        if watchdog_s is not None:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1_000_000))

    def wait_for(self, line: str) -> list[str]:
        """What is told up to a message that begins with this line; TimeoutError if it does not come."""
        heard = []
        while True:
            heard.append(self._socket.recv(4096).decode())
            if heard[-1].startswith(line):
                return heard

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


@contextmanager
def in_environment(manager: ServiceManager) -> Iterator[None]:
    """Programs started inside are that manager's."""
    before = {name: os.environ.get(name) for name in manager.environment}
    os.environ.update(manager.environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
