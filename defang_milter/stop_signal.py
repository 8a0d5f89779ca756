# SPDX-License-Identifier: GPL-3.0-or-later
"""The first signal to stop, which is the main thread's, although libmilter has a thread that waits for the same ones.

What is done about it is not decided here. Called by `listener`.
"""

import select
import signal
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

# libmilter's own signals; each means the end to it.
STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class StopSignal:
    """Takes the signals to stop for the main thread, from entry to exit; outside of that they are blocked in it.

    A signal to the process goes to its main thread, whatever that is doing, if it does not block it (Linux,
    complete_signal). Were it blocked and waited for now and then, one that comes in between would be libmilter's.
    """

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._ours, theirs = map(undo.enter_context, socket.socketpair())
            theirs.setblocking(False)
            for number in STOP_SIGNALS:
                undo.callback(signal.signal, number, signal.signal(number, _note))
            undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False))
            undo.callback(signal.pthread_sigmask, signal.SIG_BLOCK, STOP_SIGNALS)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether a signal has come; returns when it has, or after the time."""
        readable, _, _ = select.select([self._ours], [], [], timeout_s)
        return bool(readable)


def _note(_number: int, _frame: object) -> None:
    """For the interpreter to write to the wakeup descriptor, a signal needs a handler."""
