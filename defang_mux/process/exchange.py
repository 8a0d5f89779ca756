# SPDX-License-Identifier: GPL-3.0-or-later
"""One request to one worker: a line in, one line out (protocol.md, Worker).

A worker is not trusted. All that is not exactly one line ends in `Fault` or `Unseen`, or comes
with a reason not to use the worker again. Runs in the client's own task, until somebody interrupts it:
`deadlines` for the busy timeout, `crew` for the end of the process or of the service.
"""

import errno
import os
import select
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from defang_common.shown import shown
from defang_common.wire.lines import MAX_ANSWER_LINE_BYTES

NO_RESPONSE: Final = b"ERR No response from worker\n"
NOT_SENT: Final = b"error: Error talking to worker process\n"
TOO_LONG: Final = b"ERR Answer of worker is too long\n"
STOPPING: Final = b"ERR Multiplexor is stopping\n"

# A whole answer in one call; a longer one is wrong anyway.
_READ_BYTES: Final = 8192


class Peer(Protocol):
    """The worker's side of an exchange."""

    stdin: int
    stdout: int
    is_asked: bool
    """While an answer is waited for."""
    interrupted: bool
    """No answer is to be waited for any more. Set together with a `notify_closing` for both pipes if it `is_asked`."""
    watch: select.poll
    """Looks at `stdout`."""
    exited: trio.Event
    abandoned: bool
    unborn_because: str | None
    """Why there will never be a process at the other end; None while there may."""


class Unseen(Exception):  # named for what is known: the worker did not see the request
    """The worker is dead, or spoke before it was asked; another one can have the request."""

    def __init__(self, reason: str, *, died: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.died = died


class Unborn(Exception):  # named for what is known, as above
    """There is no worker, and will be none."""


class Fault(Exception):  # a verdict on the worker, not an error of ours
    """The worker failed the request; `reply` is what the client is told."""

    def __init__(self, reply: bytes, reason: str, *, died: bool = False) -> None:
        super().__init__(reason)
        self.reply = reply
        self.reason = reason
        self.died = died


class TimedOut(Exception):  # as above
    """The busy timeout has passed."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A worker's answer with its newline, and why the worker is not to be used again, if so."""

    answer: bytes
    unfit: str | None = None


async def exchange(peer: Peer, line: bytes, *, limit_bytes: int = MAX_ANSWER_LINE_BYTES) -> Exchanged:
    """The worker's answer, of at most `limit_bytes` and a newline, to `line` (without newline).

    Raises `Unborn`, `Unseen`, `Fault` or `TimedOut`.
    """
    if peer.unborn_because is not None:
        raise Unborn(peer.unborn_because)
    if peer.exited.is_set():
        # What it has started may hold its pipes open, and take the request for nobody.
        raise Unseen("it had ended before it got a request", died=True)
    _expect_silence(peer)
    rest = _send(peer.stdin, line)
    peer.is_asked = True
    try:
        return _judge(await _answer(peer, rest, limit_bytes), limit_bytes)
    finally:
        peer.is_asked = False


async def _answer(peer: Peer, rest: bytes, limit_bytes: int) -> bytes:
    """What the worker says to a request of which it has not yet the `rest`, up to a newline, its end or the limit."""
    data = b""
    # No scope around the waits, for with its deadline it costs as much as they do.
    try:
        while rest and not peer.interrupted:
            await trio.lowlevel.wait_writable(peer.stdin)
            rest = rest[_write(peer.stdin, rest) :]
        while not peer.interrupted:
            await trio.lowlevel.wait_readable(peer.stdout)
            more = _read(peer.stdout)
            data += more or b""
            if more == b"" or b"\n" in data or len(data) > limit_bytes + 1:
                return data
    except trio.ClosedResourceError:
        # The interruption.
        pass
    return _last_words(peer, data)


def _expect_silence(peer: Peer) -> None:
    # Of a worker that is silent a read would tell by an exception, at twice the cost.
    if not peer.watch.poll(0):
        return
    before = _read(peer.stdout)
    if before == b"":
        raise Unseen("it had ended before it got a request", died=True)
    if before is not None:
        raise Unseen(f"it wrote without being asked: {shown(before.rstrip())}", died=False)


def _send(stdin: int, line: bytes) -> bytes:
    """Sends what the pipe has room for, which is all of most lines; the rest."""
    whole = line + b"\n"
    try:
        return whole[os.write(stdin, whole) :]
    except BlockingIOError:
        raise Unseen("it does not read its input", died=False) from None
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise Unseen("it had closed its input", died=True) from None
        raise Fault(NOT_SENT, f"request not written: {error}") from None


def _write(stdin: int, rest: bytes) -> int:
    try:
        return os.write(stdin, rest)
    except BlockingIOError:
        return 0
    except OSError as error:
        # It began to read, and may have done whatever it is that kills it.
        raise Fault(NOT_SENT, f"request not written: {error}", died=error.errno == errno.EPIPE) from None


def _read(stdout: int) -> bytes | None:
    """Bytes, b"" at the end, None if there are none yet."""
    try:
        return os.read(stdout, _READ_BYTES)
    except BlockingIOError:
        return None


def _last_words(peer: Peer, data: bytes) -> bytes:
    """Why waiting was ended, as an exception; or what a dead worker had still written."""
    if peer.unborn_because is not None:
        raise Unborn(peer.unborn_because)
    if peer.exited.is_set():
        while b"\n" not in data and (more := _read(peer.stdout)):
            data += more
        return data
    if peer.abandoned:
        raise Fault(STOPPING, "Multiplexor is stopping")
    raise TimedOut


def _judge(data: bytes, limit_bytes: int) -> Exchanged:
    end = data.find(b"\n") + 1
    if end > limit_bytes + 1 or (not end and len(data) > limit_bytes):
        raise Fault(TOO_LONG, f"answer of more than {limit_bytes} bytes")
    if not end:
        # An answer cut short could read as another one: "ok 2" may have been "ok 250".
        raise Fault(NO_RESPONSE, f"ended in the middle of its answer: {shown(data)}" if data else "Died", died=True)
    if end < len(data):
        return Exchanged(data[:end], f"Garbled: wrote more than an answer: {shown(data[end:].rstrip())}")
    return Exchanged(data)
