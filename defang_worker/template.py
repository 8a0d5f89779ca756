# SPDX-License-Identifier: GPL-3.0-or-later
"""The template: loads worker and filter once, and forks a worker for each order (protocol.md, Template).

Packets come and go on descriptor 3. `serve` returns in every new worker, which then goes on as one that was started as
a program, and in the template itself when the multiplexor is gone or wants no more.
"""

from __future__ import annotations

import array
import contextlib
import gc
import os
import socket
import threading
from typing import TYPE_CHECKING, Final

from defang_common.wire import template as wire
from defang_common.wire.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Sequence

# Requests, answers, text for the log, and with status tags one more.
_DESCRIPTORS_OF_A_WORKER: Final = (3, 4)
_MAX_DESCRIPTORS: Final = 8


class Control:
    """The multiplexor's socket. Raises OSError if descriptor 3 is none."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=wire.CONTROL_DESCRIPTOR)
        # Nothing that the filter starts may hold it: its end tells the multiplexor that no worker is still to come.
        os.set_inheritable(wire.CONTROL_DESCRIPTOR, False)

    def say(self, packet: bytes) -> None:
        """Sends a packet. A multiplexor that has gone is noticed at the next order."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.send(packet)

    def order(self) -> tuple[int, list[int]] | None:
        """The next order's number and descriptors; None at the end. Raises Malformed."""
        size = array.array("i").itemsize * _MAX_DESCRIPTORS
        try:
            packet, ancillary, _, _ = self._socket.recvmsg(
                wire.MAX_PACKET_BYTES, socket.CMSG_SPACE(size), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return None
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        if not packet:
            return None
        if len(descriptors) not in _DESCRIPTORS_OF_A_WORKER:
            raise Malformed(f"an order with {len(descriptors)} descriptors")
        return wire.decode_order(packet), list(descriptors)

    def close(self) -> None:
        """Gives the socket up."""
        self._socket.close()


def serve(control: Control) -> bool | None:
    """Forks workers. In each of them, with its descriptors in place: whether it has status tags. None at the end."""
    # What has been loaded stays for good: no collection of a worker looks at it, and so its pages stay shared.
    gc.freeze()
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if threads:
        control.say(wire.encode_unforkable(f"it has started threads: {', '.join(threads)}; on_start is the place"))
        control.order()
        return None
    control.say(wire.READY)
    while order := control.order():
        number, descriptors = order
        if _fork_worker(control, number):
            _take_place(control, number, descriptors)
            return len(descriptors) > 3
        for descriptor in descriptors:
            os.close(descriptor)
    return None


def _fork_worker(control: Control, number: int) -> bool:
    """Whether this is the new worker. The template returns when the worker is nobody's child but the multiplexor's."""
    try:
        between = os.fork()
    except OSError as error:
        control.say(wire.encode_failed(number, error.strerror or str(error)))
        return False
    if between == 0:
        # A worker's parent, once this process has ended, is the next subreaper above: the multiplexor.
        try:
            worker = os.fork()
        except OSError as error:
            control.say(wire.encode_failed(number, error.strerror or str(error)))
            os._exit(os.EX_OSERR)
        if worker == 0:
            return True
        os._exit(os.EX_OK)
    os.waitpid(between, 0)
    return False


def _take_place(control: Control, number: int, descriptors: Sequence[int]) -> None:
    """What posix_spawn does for a worker that is started as a program."""
    os.setpgid(0, 0)
    control.say(wire.encode_serving(number))
    control.close()
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
