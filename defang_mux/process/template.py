# SPDX-License-Identifier: GPL-3.0-or-later
"""One template process: what it says, orders to it, and its end (protocol.md, Template).

A template is not trusted either: it has a time limit for all it does, and one that is late, or
says what is none of the protocol's, is killed. Which template gets which order is `starter`'s affair.
"""

import array
import signal
import socket
import struct
from dataclasses import dataclass
from logging import Logger, getLevelNamesMapping
from typing import Final, Protocol

import trio

from defang_common.wire import severity
from defang_common.wire import template as wire
from defang_common.wire.errors import Malformed
from defang_mux.process.chatter import LineReader
from defang_mux.process.kill import Patience, end_worker, signal_group
from defang_mux.process.metered import Meter
from defang_mux.process.slot import Worker
from defang_mux.process.spawn import TemplateProcess

# For an interpreter to start from a cold disk; it says hello before it loads the filter.
HELLO_LIMIT_S: Final = 30.0
# A fork takes milliseconds. Late by this much, the template was stopped, or hangs.
ORDER_LIMIT_S: Final = 10.0
# For the system to take away what KILL was sent to, and what else holds the socket. Requests wait for it, and are then
# refused: nobody can tell whether a worker will still come for them. Where memory runs out, or a disk hangs, a process
# takes its time to go; and those who wait have minutes.
BURIAL_LIMIT_S: Final = 10.0

_CREDENTIALS: Final = struct.Struct("3i")
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_CREDENTIALS.size)


@dataclass(slots=True, eq=False)
class Order:
    """A worker that is to be forked; `theirs` are its ends of the pipes, ours too until it serves."""

    number: int
    worker: Worker
    theirs: tuple[int, ...]
    until: float = 0.0


class Owner(Protocol):
    """Who is told what comes of a template and of orders to it."""

    def settled(self, template: "Template") -> None:
        """It is known whether the template can be used."""

    def ends(self, template: "Template") -> None:
        """It takes no more orders; what becomes of those that it has, will be known when `run` has ended."""

    def serving(self, order: Order, pid: int) -> None:
        """The order's worker runs."""

    def failed(self, order: Order, reason: str) -> None:
        """The template could not carry the order out."""


class Template:
    """`forks` says that it takes orders, `fault` why it is of no use; neither, and its filter is good all the same.

    Orders that are left in `orders` when `run` has ended have no worker, if `is_gone` says that nothing of the
    template is left.
    """

    def __init__(self, process: TemplateProcess, owner: Owner, *, load_limit_s: float, log: Logger) -> None:
        self.pid = process.pid
        self.exited = trio.Event()
        self.exit_status = 0
        self.settled = trio.Event()
        self.speaks = False
        """It has said hello, so the program is one of ours."""
        self.forks = False
        self.fault: str | None = None
        self.served = 0
        self.orders: dict[int, Order] = {}
        self.is_gone = False
        self._meter = Meter(self._log_line)
        self.stderr = LineReader(process.stderr, self._heard)
        self._control = process.control
        self._owner = owner
        self._load_limit_s = load_limit_s
        self._log = log
        self._last_words = ""
        self._deadline = trio.current_time() + HELLO_LIMIT_S
        self._scope = trio.CancelScope()

    # For the starter

    def send(self, order: Order) -> bool:
        """Orders a worker; False if there is no room for orders now. Raises OSError."""
        descriptors = array.array("i", order.theirs)
        try:
            self._control.sendmsg(
                [wire.encode_order(order.number)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
            )
        except BlockingIOError:
            return False
        order.until = trio.current_time() + ORDER_LIMIT_S
        self.orders[order.number] = order
        self._watch_orders()
        return True

    def hang_up(self) -> None:
        """Asks it to end, when it has done what was ordered."""
        if self._control.fileno() >= 0:
            self._control.shutdown(socket.SHUT_WR)

    def has_exited(self, status: int) -> None:
        """Its process is gone; what else holds its socket gets a moment to let go."""
        self.exit_status = status
        self.exited.set()
        self._deadline = self._scope.deadline = trio.current_time() + BURIAL_LIMIT_S
        self._owner.ends(self)

    async def end(self, patience: Patience) -> None:
        """Ends it as a worker that is idle."""
        await end_worker(hang_up=self.hang_up, gone=self.exited, busy=False, patience=patience, send=self._signal)

    async def run(self) -> None:
        """Listens until nothing of it is left; ends it if it does wrong."""
        try:
            wrong = await self._listen()
            if wrong is not None:
                self._log.error("Template (pid %d): %s", self.pid, wrong)
                self._kill()
                self._owner.ends(self)
                with trio.move_on_after(BURIAL_LIMIT_S):
                    await self._wait_silent()
        finally:
            self._control.close()
        self.forks = False
        if not self.settled.is_set():
            self._settle(wrong or self._last_words or "it ended")

    # What it says

    async def _listen(self) -> str | None:
        """Until its end, with None, or until it does wrong, with what that is."""
        while True:
            with trio.CancelScope(deadline=self._deadline) as self._scope:
                await trio.lowlevel.wait_readable(self._control)
            if self._scope.cancelled_caught:
                return "it has ended" if self.exited.is_set() else "it takes too long"
            try:
                while (packet := receive(self._control)) is not None:
                    if packet == (b"", 0):
                        self.is_gone = True
                        return None
                    self._take(*packet)
            except Malformed as error:
                return str(error)

    async def _wait_silent(self) -> None:
        """Until no process holds the other end of the socket: neither the template nor a worker still to come."""
        while True:
            await trio.lowlevel.wait_readable(self._control)
            try:
                while (packet := receive(self._control)) is not None:
                    if packet == (b"", 0):
                        self.is_gone = True
                        return
                    self._take(*packet)
            except Malformed:
                continue

    def _take(self, packet: bytes, sender: int) -> None:
        said = wire.decode(packet)
        match said:
            case wire.Serving(number) if sender != self.pid and sender > 1:
                order = self.orders.pop(number, None)
                if order is None:
                    raise Malformed(f"nobody ordered worker {number}")
                self.served += 1
                self._owner.serving(order, sender)
            case wire.Failed(number, reason):
                order = self.orders.pop(number, None)
                if order is None:
                    raise Malformed(f"nobody ordered worker {number}")
                self._owner.failed(order, reason)
            case wire.Hello() if not self.speaks:
                self.speaks = True
                self._deadline = trio.current_time() + self._load_limit_s
                return
            case wire.Ready() if self.speaks and not self.settled.is_set():
                self.forks = True
                self._settle(None)
            case wire.Unforkable(reason) if self.speaks and not self.settled.is_set():
                self._log.warning("Workers cannot be forked: %s", reason)
                self._settle(None)
            case wire.Fault(text) if self.speaks and not self.settled.is_set():
                self._settle(text)
            case _:
                raise Malformed(f"it said {packet[:100]!r} at the wrong time")
        self._watch_orders()

    def _settle(self, fault: str | None) -> None:
        self._meter.settle()
        self.fault = fault
        self.settled.set()
        self._owner.settled(self)

    def _watch_orders(self) -> None:
        """The next time limit is that of the oldest order."""
        if self.exited.is_set():
            return
        first = next(iter(self.orders.values()), None)
        self._deadline = self._scope.deadline = float("inf") if first is None else first.until

    def _heard(self, line: bytes) -> None:
        if line:
            written = line.decode("utf-8", "backslashreplace")
            _, self._last_words = severity.split(written)
            # What a program that is none of ours says to words that it does not know, is no matter.
            if self.speaks:
                self._meter.take(written, trio.current_time())

    def _log_line(self, written: str) -> None:
        level, text = severity.split(written)
        self._log.log(getLevelNamesMapping()[level], "Template stderr: %s", text)

    # Its end

    def _kill(self) -> None:
        # Its group has those of its forks that have not begun to serve. No CONT before it, as elsewhere: one that was
        # stopped would go on to the orders that another template is to get.
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Its number may be another's, once it has been reaped.
        if not self.exited.is_set():
            signal_group(self.pid, number)


def receive(control: socket.socket) -> tuple[bytes, int] | None:
    """A packet and its sender's process ID; both empty at the end, None if there is none yet."""
    try:
        packet, ancillary, _, _ = control.recvmsg(wire.MAX_PACKET_BYTES, _ANCILLARY_BYTES)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b"", 0
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and len(data) == _CREDENTIALS.size:
            return packet, int(_CREDENTIALS.unpack(data)[0])
    return packet, 0
