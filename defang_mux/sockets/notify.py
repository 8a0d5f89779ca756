# SPDX-License-Identifier: GPL-3.0-or-later
"""The notification socket: programs that are told of the workers' states as they change (protocol.md, Notifications).

`NotifyDoor.note` is one of the crew's watches. It only collects; each listener's own task writes.
"""

import socket
from collections.abc import Iterator
from logging import Logger
from typing import Final

import trio

from defang_mux.pool.events import Event, RereadForced, Tagged, TimeoutHit
from defang_mux.pool.state import Moved, State
from defang_mux.reports import tag_of_request
from defang_mux.sockets.listen import Listener
from defang_mux.sockets.requests import Door, receive

MAX_LISTENERS: Final = 5
"""MIMEDefang's number."""

OK: Final = b"*OK\n"
NO_SLOT: Final = b"*ERR No free listening slots\n"

# An interest is a handful of letters.
_MAX_LINE_BYTES: Final = 256
# Some thousand messages behind: such a listener does not read, and a gap would make it believe what is no longer so.
_MAX_PENDING_BYTES: Final = 65_536

_ALL: Final = frozenset(b"BFRSUYZ")
_STATE_WORDS: Final = {state: state.name.capitalize() for state in State}


class _Listener:
    """Which letters one program wants, and what is still to be sent to it."""

    __slots__ = ("is_behind", "letters", "pending", "scope", "wanted")

    def __init__(self) -> None:
        self.letters: frozenset[int] = frozenset()
        self.pending = bytearray(OK)
        self.wanted = trio.Event()
        self.wanted.set()
        self.scope = trio.CancelScope()
        self.is_behind = False

    def add(self, message: bytes) -> None:
        if message[0] in self.letters:
            self.pending += message
            if len(self.pending) > _MAX_PENDING_BYTES:
                self.is_behind = True
                self.scope.cancel()
            self.wanted.set()

    def heed(self, line: bytes) -> None:
        """Takes an interest, which replaces the one before; all other lines mean nothing."""
        if line.startswith(b"?"):
            self.letters = _ALL if b"*" in line else _ALL & frozenset(line)


class NotifyDoor(Door):
    """Listeners come and go; `free` is the number of workers that could take a request at the start."""

    def __init__(self, listener: Listener, *, free: int, command_timeout_s: float, log: Logger) -> None:
        super().__init__(listener, _nothing, command_timeout_s=command_timeout_s, log=log)
        self._listeners: list[_Listener] = []
        self._free = free
        self._timeout_s = command_timeout_s

    def close(self) -> None:
        """Takes no more listeners and hangs up on those that are there."""
        super().close()
        for one in self._listeners:
            one.scope.cancel()

    def note(self, event: Event) -> None:
        """Collects what the listeners want to know of it."""
        for message in self._messages(event):
            for one in self._listeners:
                one.add(message)

    def _messages(self, event: Event) -> Iterator[bytes]:
        match event:
            case Moved():
                yield from self._moved(event)
            case Tagged(number=number, tag=tag):
                yield b"S %d %b\n" % (number, tag)
            case TimeoutHit():
                yield b"B\n"
            case RereadForced():
                yield b"R\n"

    def _moved(self, event: Moved) -> Iterator[bytes]:
        if event.unexpected and event.new is State.STOPPED:
            yield b"U\n"
        change = f"{_STATE_WORDS[event.old]} -> {_STATE_WORDS[event.new]}"
        yield f"S {event.number} StateChange {change}\n".encode()
        before, self._free = self._free, event.free
        if event.free != before:
            yield b"F %d\n" % event.free
        if not event.free:
            yield b"Z\n"
        elif not before:
            yield b"Y\n"
        if event.new is State.BUSY:
            yield f"S {event.number} {tag_of_request(event.line)}\n".encode()

    async def _talk(self, connection: socket.socket) -> None:
        self.silent -= 1
        if len(self._listeners) >= MAX_LISTENERS:
            await self._write(connection, NO_SLOT)
            return
        one = _Listener()
        self._listeners.append(one)
        try:
            with one.scope:
                async with trio.open_nursery() as both:
                    both.start_soon(self._tell, connection, one)
                    await self._listen(connection, one)
                    both.cancel_scope.cancel()
        except* OSError:
            # The listener has gone.
            pass
        except* trio.TooSlowError:
            self._log.warning("A listener that does not read was hung up on")
        finally:
            self._listeners.remove(one)
        if one.is_behind:
            self._log.warning("A listener that reads too slowly was hung up on")

    async def _listen(self, connection: socket.socket, one: _Listener) -> None:
        rest = b""
        while (data := receive(connection)) != b"":
            if data is None:
                await trio.lowlevel.wait_readable(connection)
                continue
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-_MAX_LINE_BYTES:]
            for line in lines:
                one.heed(line)

    async def _tell(self, connection: socket.socket, one: _Listener) -> None:
        while True:
            await one.wanted.wait()
            one.wanted = trio.Event()
            while one.pending:
                try:
                    sent = connection.send(one.pending, socket.MSG_DONTWAIT)
                    del one.pending[:sent]
                except BlockingIOError:
                    with trio.fail_after(self._timeout_s):
                        await trio.lowlevel.wait_writable(connection)


async def _nothing(_line: bytes) -> bytes:
    return b""
