# SPDX-License-Identifier: GPL-3.0-or-later
"""Request sockets: one connection, one line in, one reply out, close (protocol.md, Connections).

Knows no meaning of a line: `Replier` does. Works on plain sockets with MSG_DONTWAIT, because most
requests have arrived whole when the connection is accepted, and most replies fit the socket's buffer.
"""

import errno
import select
import socket
from collections.abc import Awaitable, Callable
from logging import Logger
from typing import Final

import trio

from defang_common.shown import shown
from defang_common.wire import state
from defang_common.wire.errors import Malformed
from defang_common.wire.lines import MAX_REQUEST_LINE_BYTES
from defang_common.wire.requests import queue_id_of
from defang_mux.log_prefix import log_prefix
from defang_mux.sockets.attendants import Attendants
from defang_mux.sockets.listen import Listener

TOO_LONG: Final = b"error: Command too long\n"

Replier = Callable[[bytes], Awaitable[bytes]]
"""The reply to a line without its newline; b"" to say nothing."""

_READ_BYTES: Final = 8192
# With the CR and LF of the longest good line; longer by one byte, a line is seen to be too long.
_MAX_LINE_BYTES: Final = MAX_REQUEST_LINE_BYTES + state.MAX_WORD_BYTES + 2
# Out of descriptors: others have to end first, and asking again at once would only burn time.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE_S: Final = 0.1
# Accepted before others get a turn: whoever connects without end must not keep workers' answers waiting.
_MOST_AT_ONCE: Final = 64


class Door:
    """A listening socket and who answers there.

    `max_silent` is how many connections may be open that have not yet sent their line; more are closed at once.
    """

    def __init__(
        self,
        listener: Listener,
        replier: Replier,
        *,
        command_timeout_s: float,
        log: Logger,
        max_silent: int | None = None,
    ) -> None:
        self._listener = listener
        self._replier = replier
        self._command_timeout_s = command_timeout_s
        self._log = log
        self._max_silent = max_silent
        self._attendants = Attendants(self._converse)
        self.silent = 0
        """Connections that have not yet sent their line."""
        self._reading: set[trio.CancelScope] = set()

    def close(self) -> None:
        """Takes no more connections; those not yet accepted are closed by the system."""
        self._listener.close()
        self._attendants.dismiss()

    async def serve(self, clients: trio.Nursery) -> None:
        """Accepts connections for ever; each has a task of `clients`, which outlives this one."""
        complained = False
        more = select.poll()
        more.register(self._listener.socket, select.POLLIN)
        while True:
            await trio.lowlevel.wait_readable(self._listener.socket)
            try:
                for _ in range(_MOST_AT_ONCE):
                    self._take(self._listener.socket.accept()[0], clients)
                    # To be told by an exception that there are no more takes ten times as long.
                    if not more.poll(0):
                        break
                complained = False
            except BlockingIOError:
                complained = False
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue
                if not complained:
                    self._log.error("cannot accept connections: %s", error.strerror)
                    complained = True
                await trio.sleep(_EXHAUSTED_PAUSE_S)

    def _take(self, connection: socket.socket, clients: trio.Nursery) -> None:
        if self._max_silent is not None and self.silent >= self._max_silent:
            connection.close()
            return
        self.silent += 1
        self._attendants.give(connection, clients)

    async def _converse(self, connection: socket.socket) -> None:
        try:
            with connection:
                await self._talk(connection)
        except OSError:
            # The client has gone, and has not been promised anything.
            return
        except Exception:  # noqa: BLE001  # logged, as below
            self._log.critical("a connection failed", exc_info=True)

    async def _talk(self, connection: socket.socket) -> None:
        """One line in, one reply out."""
        try:
            line = await self._read_line(connection)
        finally:
            self.silent -= 1
        if line is None:
            return
        try:
            reply = TOO_LONG if _is_too_long(line) else await self._replier(line)
        except Exception:  # noqa: BLE001  # logged, and told to the client by the closing of its connection
            # A bug of ours, a full disk, or want of descriptors. Closing without a reply is a temporary failure to the
            # client; the others live on.
            self._log.critical("%sa request failed", log_prefix(line), exc_info=True)
            return
        try:
            await self._write(connection, reply)
        except OSError as error:
            # What the request did stays done. Of a message, the front end will say another thing than the worker.
            queue_id = queue_id_of(line)
            if queue_id is not None:
                self._log.warning("%s: reply not taken: %s", shown(queue_id), error.strerror or error)

    async def _read_line(self, connection: socket.socket) -> bytes | None:
        """The line, or what came of it before the end; None if nothing came, or not in time.

        What is behind its newline is dropped. Of a line that is too long one byte too many is returned.
        """
        data = receive(connection)
        if data is None or b"\n" not in data:
            with trio.move_on_after(self._command_timeout_s) as patience:
                data = await _receive_line(connection, data)
            if patience.cancelled_caught or not data:
                return None
        line, newline, _ = data.partition(b"\n")
        if newline and line.endswith(b"\r"):
            line = line[:-1]
        # A worker would read up to the NUL, in MIMEDefang and here.
        return line.partition(b"\0")[0] if b"\0" in line else line

    async def _write(self, connection: socket.socket, reply: bytes) -> None:
        """Sends all of it; raises OSError, also for a client that does not take it in time."""
        try:
            sent = connection.send(reply, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        if sent == len(reply):
            return
        with memoryview(reply) as rest, trio.move_on_after(self._command_timeout_s) as patience:
            while sent < len(rest):
                await trio.lowlevel.wait_writable(connection)
                try:
                    sent += connection.send(rest[sent:], socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
        if patience.cancelled_caught:
            raise TimeoutError(f"the client reads nothing for {self._command_timeout_s:g} s")


def _is_too_long(line: bytes) -> bool:
    if len(line) <= MAX_REQUEST_LINE_BYTES:
        return False
    try:
        plain, word = state.split(line)
    except Malformed:
        return True
    return len(plain) > MAX_REQUEST_LINE_BYTES or len(word) > state.MAX_WORD_BYTES


def receive(connection: socket.socket) -> bytes | None:
    """Bytes, b"" at the end, None if there are none yet."""
    try:
        return connection.recv(_READ_BYTES, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None


async def _receive_line(connection: socket.socket, data: bytes | None) -> bytes:
    """`data` and what follows it, up to the first newline or the end; of a long line only the beginning is kept."""
    if data == b"":
        return b""
    line = data or b""
    while True:
        await trio.lowlevel.wait_readable(connection)
        more = receive(connection)
        if more is None:
            continue
        # Enough for the longest good line with CR and LF, and to see that this one is too long.
        line = line[:_MAX_LINE_BYTES] + more
        if not more or b"\n" in more:
            return line
