# SPDX-License-Identifier: GPL-3.0-or-later
"""The ladder that ends a worker: end of input, TERM, KILL, with time between (protocol.md, Ending a worker).

Signals go to the worker's process group, so that a scanner it started ends with it. A stopped
process is continued before each step, else it would not notice.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import trio


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a worker may take to end before the next step, in seconds."""

    stop_grace_s: float
    kill_grace_s: float


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signals the worker and what it started; a group that is gone is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def end_worker(
    *,
    send: Callable[[signal.Signals], None],
    hang_up: Callable[[], None],
    gone: trio.Event,
    busy: bool,
    patience: Patience,
) -> None:
    """Returns when `gone` is set or KILL was sent. `send` signals the worker, `hang_up` closes its input.

    A busy worker does not read its input, so the first step is skipped for it. Canceling does not
    stop the ladder: whoever stands on it is to end.
    """
    with trio.CancelScope(shield=True):
        send(signal.SIGCONT)
        if busy:
            send(signal.SIGTERM)
        hang_up()
        if not busy:
            with trio.move_on_after(patience.stop_grace_s):
                await gone.wait()
                return
            send(signal.SIGCONT)
            send(signal.SIGTERM)
        with trio.move_on_after(patience.kill_grace_s):
            await gone.wait()
            return
        send(signal.SIGCONT)
        send(signal.SIGKILL)
