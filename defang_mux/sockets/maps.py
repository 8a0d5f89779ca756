# SPDX-License-Identifier: GPL-3.0-or-later
"""The map socket: lookups of mail servers, many on one connection, each to a worker (protocol.md, Map socket).

A connection is read for as long as the client likes; while it is not waiting for input, a stop lets it finish.
"""

import socket

import trio

from defang_common.shown import shown
from defang_common.wire import answers, percent
from defang_common.wire.errors import Malformed
from defang_common.wire.lines import MAX_REQUEST_LINE_BYTES
from defang_mux.sockets import netstrings
from defang_mux.sockets.netstrings import Netstrings, NoComma
from defang_mux.sockets.requests import Door, receive

_NO_COMMA = b"PERM Netstring missing terminating comma"
_NO_TABLE = b"PERM Invalid request format"
_TOO_LONG = b"PERM Request too long"


class MapDoor(Door):
    """Netstrings in and out; the replier gets `map TABLE KEY` lines, and gives a worker's answers."""

    _closing = False

    def close(self) -> None:
        """Takes no more connections, and ends those on which nothing is asked."""
        super().close()
        self._closing = True
        for scope in self._reading:
            scope.cancel()

    async def _talk(self, connection: socket.socket) -> None:
        self.silent -= 1
        incoming = Netstrings()
        while True:
            try:
                request = incoming.next()
            except NoComma:
                await self._write(connection, netstrings.encode(_NO_COMMA))
                return
            except Malformed:
                return
            if request is not None:
                await self._write(connection, netstrings.encode(await self._look_up(request)))
            elif data := await self._read(connection):
                incoming.feed(data)
            else:
                return

    async def _read(self, connection: socket.socket) -> bytes:
        """What comes next; nothing at the end, or if the program is being stopped."""
        while not self._closing:
            data = receive(connection)
            if data is not None:
                return data
            with trio.CancelScope() as scope:
                self._reading.add(scope)
                try:
                    await trio.lowlevel.wait_readable(connection)
                finally:
                    self._reading.discard(scope)
        return b""

    async def _look_up(self, request: bytes) -> bytes:
        table, blank, key = request.partition(b" ")
        if not blank:
            return _NO_TABLE
        line = b"map %b %b" % (percent.encode(table), percent.encode(key))
        if len(line) > MAX_REQUEST_LINE_BYTES:
            return _TOO_LONG
        return reply_of(await self._replier(line))


def reply_of(answer: bytes) -> bytes:
    """What the mail server is told: the worker's answer, or a temporary failure with the reason."""
    try:
        return answers.decode_lookup(answer)
    except Malformed:
        reason = answer.removeprefix(b"error: ").removeprefix(b"ERR ")
        return b"TEMP " + shown(reason.strip()).encode()
