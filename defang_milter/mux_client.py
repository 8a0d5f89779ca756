# SPDX-License-Identifier: GPL-3.0-or-later
"""One request to the multiplexor: connect, a line out, all bytes in until it closes (protocol.md, Requests).

Every failure is `MuxUnavailable`, its message the cause. Nothing is retried here: the MTA does that.
"""

import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from defang_common.wire import answers, requests
from defang_common.wire.answers import Answer
from defang_common.wire.errors import Malformed
from defang_common.wire.requests import Request

# No answer in the protocol comes near it; a peer that sends more is not the multiplexor.
MAX_ANSWER_BYTES: Final = 16_384


class MuxUnavailable(Exception):
    """The multiplexor did not answer, or not as the protocol has it."""


def _timeval(seconds: float) -> bytes:
    # struct timeval; all zero would mean no limit.
    micros = max(int(seconds * 1_000_000), 1)
    return struct.pack("@ll", *divmod(micros, 1_000_000))


class MuxClient:
    """Asks the multiplexor at a unix socket; serves any number of threads at once.

    `timeout_s` limits a whole request. While an answer is awaited, a caller's `keep_alive` is
    called every `keep_alive_interval_s`.
    """

    def __init__(self, path: str, *, timeout_s: float, keep_alive_interval_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._slice_s = min(timeout_s, keep_alive_interval_s)
        # Kernel timeouts on a blocking socket: a full backlog makes connect wait, where a nonblocking one fails, and
        # no poll() comes with every call.
        self._send_limit = _timeval(timeout_s)
        self._receive_slice = _timeval(self._slice_s)

    def free_workers(self) -> int:
        """How many workers could take a request now."""
        try:
            return answers.decode_free(self._ask(requests.Free()))
        except Malformed as error:
            raise MuxUnavailable(str(error)) from error

    def check(self, request: Request) -> Answer:
        """The answer to a relay, HELO, sender or recipient check."""
        try:
            return answers.decode(self._ask(request))
        except Malformed as error:
            raise MuxUnavailable(str(error)) from error

    def scan(self, request: requests.Scan, keep_alive: Callable[[], None]) -> None:
        """Returns when RESULTS is complete."""
        reply = self._ask(request, keep_alive)
        if reply != answers.SCAN_OK:
            raise MuxUnavailable(f"scan: {reply.decode(errors='backslashreplace').strip() or 'no answer'}")

    def _ask(self, request: Request, keep_alive: Callable[[], None] | None = None) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, self._send_limit)
                link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._receive_slice)
                link.connect(self._path)
                link.sendall(requests.encode(request))
                return self._receive(link, deadline, keep_alive)
        except BlockingIOError:
            raise MuxUnavailable(f"{self._path}: takes no request within {self._timeout_s:g} s") from None
        except OSError as error:
            raise MuxUnavailable(f"{self._path}: {error.strerror or error}") from error

    def _receive(self, link: socket.socket, deadline: float, keep_alive: Callable[[], None] | None) -> bytes:
        """All bytes until the peer closes: a whole line without the close is not an answer yet."""
        reply = b""
        while True:
            waiting_since = time.monotonic()
            try:
                # Answer and close in one call: it returns at the close, or when the slice of time is over.
                reply += link.recv(MAX_ANSWER_BYTES + 1, socket.MSG_WAITALL)
                if len(reply) > MAX_ANSWER_BYTES:
                    raise MuxUnavailable(f"{self._path}: answer over {MAX_ANSWER_BYTES} bytes")
                # The system's clock may be a tick early, never half a slice.
                if time.monotonic() < waiting_since + self._slice_s / 2:
                    return reply
            except BlockingIOError:
                if keep_alive is not None:
                    keep_alive()
            # Also of a peer that dribbles.
            if time.monotonic() >= deadline:
                raise MuxUnavailable(f"{self._path}: no answer within {self._timeout_s:g} s")
