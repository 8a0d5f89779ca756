# SPDX-License-Identifier: GPL-3.0-or-later
"""One request to the multiplexor: connect, a line out, all bytes in until it closes (protocol.md, Requests).

Every failure is `MuxUnavailable`, its message the cause. Nothing is retried here: the MTA does that.
"""

import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from defang_common.wire import abilities, answers, requests, state
from defang_common.wire.abilities import Abilities, Ability
from defang_common.wire.answers import Answer
from defang_common.wire.errors import Malformed
from defang_common.wire.requests import Request
from defang_common.wire.state import Carried

# No answer in the protocol comes near it; a peer that sends more is not the multiplexor.
MAX_ANSWER_BYTES: Final = 16_384 + state.MAX_WORD_BYTES
# Any answer without state, and more.
_READ_BYTES: Final = 16_384

# struct ucred of the process that listens; Linux has it, FreeBSD has not.
_PEER: Final = struct.Struct("@iII")
_PEER_CREDENTIALS: Final[int | None] = getattr(socket, "SO_PEERCRED", None)


class MuxUnavailable(Exception):
    """The multiplexor did not answer, or not as the protocol has it."""


def _timeval(seconds: float) -> bytes:
    # struct timeval; all zero would mean no limit.
    micros = max(int(seconds * 1_000_000), 1)
    return struct.pack("@ll", *divmod(micros, 1_000_000))


def _peer_pid(link: socket.socket) -> int:
    """The process ID of the one that listens, 0 if the system does not tell."""
    if _PEER_CREDENTIALS is None:
        return 0
    pid: int = _PEER.unpack(link.getsockopt(socket.SOL_SOCKET, _PEER_CREDENTIALS, _PEER.size))[0]
    return pid


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
        # Which process was asked about its abilities, and what it said. Set in one step, for other threads read it.
        self._known: tuple[int, Abilities] = (0, abilities.NONE)

    def free_workers(self) -> int:
        """How many workers could take a request now."""
        try:
            return answers.decode_free(self._ask(requests.Free()))
        except Malformed as error:
            raise MuxUnavailable(str(error)) from error

    def check(self, request: Request, carried: Carried | None = None) -> Answer:
        """The answer to a relay, HELO, sender or recipient check; `carried` goes there and comes back with it."""
        try:
            reply = self._ask(request, carried)
            if reply and not reply.endswith(b"\n"):
                # Of a refusal's text, code or delay a part may be missing.
                raise MuxUnavailable(f"answer cut off: {reply.decode(errors='backslashreplace')}")
            return answers.decode(reply)
        except Malformed as error:
            raise MuxUnavailable(str(error)) from error

    def scan(
        self,
        request: requests.Scan,
        keep_alive: Callable[[], None],
        carried: Carried | None = None,
        write_header_files: Callable[[], None] | None = None,
    ) -> bytes | None:
        """Returns when RESULTS is complete: the whole of it if it came on the answer, None if it is in the directory.

        `write_header_files` is called, perhaps twice, unless the multiplexor says that they are not needed; its OSError
        is passed on. Without it they are there.
        """
        lacks_files = write_header_files is not None and Ability.NO_HEADER_FILES in self._known[1]
        try:
            if write_header_files is not None and not lacks_files:
                write_header_files()
            reply = self._ask(request, carried, keep_alive, lacks_header_files=lacks_files)
            if write_header_files is not None and reply == abilities.HEADER_FILES_WANTED:
                write_header_files()
                reply = self._ask(request, carried, keep_alive)
            return answers.decode_scan(reply)
        except Malformed as error:
            raise MuxUnavailable(f"scan: {error}") from error

    def _ask(
        self,
        request: Request,
        carried: Carried | None = None,
        keep_alive: Callable[[], None] | None = None,
        *,
        lacks_header_files: bool = False,
    ) -> bytes:
        """The reply to the request; with `carried` on both if the multiplexor passes that on. Raises Malformed too.

        One that needs header files, or may do so, does not get the request where they are lacking: their want is the
        reply.
        """
        deadline = time.monotonic() + self._timeout_s
        line = requests.encode(request)
        told: Abilities | None = None
        try:
            while True:
                with socket.socket(socket.AF_UNIX) as link:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, self._send_limit)
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._receive_slice)
                    link.connect(self._path)
                    known = abilities.NONE if carried is None else self._abilities(link, told)
                    is_used_up = known is None
                    if known is None:
                        known = told = self._asked(link, deadline)
                    if lacks_header_files and Ability.NO_HEADER_FILES not in known:
                        return abilities.HEADER_FILES_WANTED
                    if is_used_up:
                        continue
                    if carried is None or Ability.STATE not in known:
                        link.sendall(line)
                        return self._receive(link, deadline, keep_alive)
                    wants_results = Ability.RESULTS_ON_ANSWER in known and isinstance(request, requests.Scan)
                    link.sendall(carried.on_request(line, wants_results=wants_results))
                    reply = carried.from_answer(self._receive(link, deadline, keep_alive))
                    if reply == abilities.HEADER_FILES_WANTED:
                        self._known = (_peer_pid(link), known - {Ability.NO_HEADER_FILES})
                    return reply
        except BlockingIOError:
            raise MuxUnavailable(f"{self._path}: takes no request within {self._timeout_s:g} s") from None
        except OSError as error:
            raise MuxUnavailable(f"{self._path}: {error.strerror or error}") from error

    def _abilities(self, link: socket.socket, told: Abilities | None) -> Abilities | None:
        """Those of the multiplexor at the other end; None if that process was not asked yet."""
        pid = _peer_pid(link)
        known_pid, known = self._known
        if pid and pid == known_pid:
            return known
        # One in another PID namespace has none that we see: it is asked each time, for it may be another by now.
        return None if pid else told

    def _asked(self, link: socket.socket, deadline: float) -> Abilities:
        """Puts the question, which takes up the connection, and keeps the answer."""
        link.sendall(abilities.QUESTION_TO_MUX + b"\n")
        told = abilities.decode(self._receive(link, deadline, None))
        pid = _peer_pid(link)
        if not pid:
            # Another may have taken its place before the message comes, and find files missing.
            told -= {Ability.NO_HEADER_FILES}
        self._known = (pid, told)
        return told

    def _receive(self, link: socket.socket, deadline: float, keep_alive: Callable[[], None] | None) -> bytes:
        """All bytes until the peer closes: a whole line without the close is not an answer yet."""
        reply = b""
        while True:
            waiting_since = time.monotonic()
            try:
                # Answer and close in one call: it returns at the close, or when the slice of time is over.
                piece = link.recv(_READ_BYTES, socket.MSG_WAITALL)
                reply += piece
                if len(reply) > MAX_ANSWER_BYTES:
                    raise MuxUnavailable(f"{self._path}: answer over {MAX_ANSWER_BYTES} bytes")
                if len(piece) == _READ_BYTES:
                    continue
                # The system's clock may be a tick early, never half a slice.
                if time.monotonic() < waiting_since + self._slice_s / 2:
                    return reply
            except BlockingIOError:
                if keep_alive is not None:
                    keep_alive()
            # Also of a peer that dribbles.
            if time.monotonic() >= deadline:
                raise MuxUnavailable(f"{self._path}: no answer within {self._timeout_s:g} s")
