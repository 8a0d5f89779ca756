# SPDX-License-Identifier: GPL-3.0-or-later
"""The door for Prometheus: as much of HTTP as it takes to be asked for one page (RFC 9112).

One request a connection. A head that is too long or too slow gets no reply.
"""

import socket
from collections.abc import Callable
from typing import Final

import trio

from defang_common.host.errors import StartFailed
from defang_mux.sockets.listen import Listener, listen_for_own
from defang_mux.sockets.requests import Door, receive

# More than any scraper sends; their heads have some 300 bytes.
_MAX_HEAD_BYTES: Final = 16 * 1024
_LOOPBACK: Final = ("inet:", "inet6:", "unix:", "local:", "/")
_PATHS: Final = (b"/metrics", b"/")


def listen_for_metrics(address: str, *, group: bool, backlog: int) -> Listener:
    """A unix socket of our own, or a port of the loopback. Raises `StartFailed` for any other address."""
    if not address.startswith(_LOOPBACK):
        raise StartFailed(f"metrics are for a unix socket or the loopback (inet:PORT, inet6:PORT), not {address!r}")
    return listen_for_own(address, group=group, backlog=backlog)


def page(head: bytes, render: Callable[[], bytes], content_type: str) -> bytes:
    """The response to a request's head; the page is only made if it is asked for."""
    method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", "text/plain", b"GET only\n", more="Allow: GET, HEAD\r\n")
    if path not in _PATHS:
        return _response("404 Not Found", "text/plain", b"/metrics is what there is\n")
    response = _response("200 OK", content_type, render())
    return response if method == b"GET" else response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _response(status: str, content_type: str, body: bytes, *, more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


class MetricsDoor(Door):
    """The replier gets a request's head, whole."""

    async def _talk(self, connection: socket.socket) -> None:
        head = b""
        try:
            with trio.move_on_after(self._command_timeout_s):
                head = await _read_head(connection)
        finally:
            self.silent -= 1
        if head:
            await self._write(connection, await self._replier(head))


async def _read_head(connection: socket.socket) -> bytes:
    """All up to the empty line; nothing if it does not come."""
    head = b""
    while len(head) <= _MAX_HEAD_BYTES:
        await trio.lowlevel.wait_readable(connection)
        data = receive(connection)
        if data == b"":
            break
        head += data or b""
        if b"\r\n\r\n" in head:
            return head
    return b""
