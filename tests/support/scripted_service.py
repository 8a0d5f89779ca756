# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that does as it is told with each connection: to see what a client makes of one that misbehaves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

Handler = Callable[[socket.socket], None]

JOIN_LIMIT_S = 10.0


class ScriptedService:
    """Listens on a unix socket, or on a port of 127.0.0.1 or `host`, and serves every connection by `handler`, in a
    thread each.

    The handler may be replaced while it runs. Without `is_up` connections are refused until it is told to `come_up`. At
    the end all connections are closed, which ends whatever waits on one.
    """

    def __init__(
        self, handler: Handler, path: Path | None = None, host: str = "127.0.0.1", *, is_up: bool = True
    ) -> None:
        self.handler = handler
        self._is_up = is_up
        self.connections = 0
        self.ending = threading.Event()
        """Set at the end: for handlers that hang until then."""
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        family = socket.AF_UNIX if path is not None else socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.bind((host, 0) if path is None else str(path))
        name = self._listener.getsockname()
        shown = f"[{host}]" if ":" in host else host
        self.address = name if isinstance(name, str) else f"{shown}:{name[1]}"

    def __enter__(self) -> Self:
        if self._is_up:
            self.come_up()
        return self

    def come_up(self) -> None:
        """Begins to take connections."""
        self._listener.listen(16)
        self._start(self._accept)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ending.set()
        for one in [self._listener, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes who waits on it, which closing alone does not
            one.close()
        for thread in self._threads:
            thread.join(JOIN_LIMIT_S)
            assert not thread.is_alive()

    def _start(self, call: Callable[[], None]) -> None:
        thread = threading.Thread(target=call, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.ending.is_set():
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connected)
            handler = self.handler
            self._start(lambda connected=connected, handler=handler: self._serve(connected, handler))  # type: ignore[misc]

    def _serve(self, connected: socket.socket, handler: Handler) -> None:
        with connected, suppress(OSError):  # a client may go when it likes
            handler(connected)

    # What services do that misbehave

    def hang(self, connected: socket.socket) -> None:
        """Takes all in and never says a word."""
        while not self.ending.is_set() and connected.recv(65536):
            pass
        self.ending.wait()

    def trickle(self, connected: socket.socket) -> None:
        """Says a byte now and then, and never comes to the end of a reply."""
        while not self.ending.wait(0.005):
            connected.sendall(b"1")

    @staticmethod
    def close_early(connected: socket.socket) -> None:
        """Closes after the first bytes."""
        connected.recv(1)

    @staticmethod
    def talk_garbage(connected: socket.socket) -> None:
        """Says something that is no reply of any protocol, and closes when the client does."""
        connected.recv(65536)
        connected.sendall(b"\xff\xfe\0HTTP/9.9 what?\0\r\n\r\n\0")
        while connected.recv(65536):
            pass
