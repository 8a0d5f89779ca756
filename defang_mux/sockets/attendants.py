# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks for connections, that stay for the next one: to begin and end a task costs more than most of what it does.

Called by the doors.
"""

import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio

# Those of a burst go; of what comes in one moment on a busy day, few wait for a new task.
MOST_IDLE: Final = 16


class _Attendant:
    """One task, and the connection it is to take next; None to end."""

    __slots__ = ("connection", "task")

    def __init__(self, connection: socket.socket | None) -> None:
        self.connection = connection
        self.task: trio.lowlevel.Task | None = None

    def wake(self, connection: socket.socket | None) -> None:
        """Ends the wait of one that is idle."""
        assert self.task is not None
        self.connection = connection
        trio.lowlevel.reschedule(self.task)


class Attendants:
    """Has `converse` called for each connection, in a task that nobody else uses meanwhile."""

    def __init__(self, converse: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._converse = converse
        self._idle: list[_Attendant] = []
        self._most_idle = MOST_IDLE

    def give(self, connection: socket.socket, tasks: trio.Nursery) -> None:
        """Hands a connection to an idle task, or to a new one of `tasks`, which is always the same nursery."""
        if self._idle:
            self._idle.pop().wake(connection)
        else:
            tasks.start_soon(self._attend, _Attendant(connection))

    def dismiss(self) -> None:
        """Ends the idle tasks now, and the others when they become idle."""
        self._most_idle = 0
        while self._idle:
            self._idle.pop().wake(None)

    async def _attend(self, attendant: _Attendant) -> None:
        attendant.task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._idle.remove(attendant)
            return trio.lowlevel.Abort.SUCCEEDED

        while attendant.connection is not None:
            connection, attendant.connection = attendant.connection, None
            await self._converse(connection)
            if len(self._idle) < self._most_idle:
                self._idle.append(attendant)
                await trio.lowlevel.wait_task_rescheduled(abort)
