# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that stay for the next connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from defang_mux.sockets.attendants import MOST_IDLE, Attendants


@pytest.fixture
def connections() -> Iterator[list[socket.socket]]:
    made = [socket.socket(socket.AF_UNIX) for _ in range(2 * MOST_IDLE)]
    yield made
    for one in made:
        one.close()


class Conversations:
    """What was talked with whom, in which task; each ends when it may."""

    def __init__(self) -> None:
        self.begun: list[tuple[trio.lowlevel.Task, socket.socket]] = []
        self.may_end = trio.Event()

    async def hold(self, connection: socket.socket) -> None:
        self.begun.append((trio.lowlevel.current_task(), connection))
        await self.may_end.wait()

    @property
    def tasks(self) -> set[trio.lowlevel.Task]:
        return {task for task, _ in self.begun}

    @property
    def connections(self) -> list[socket.socket]:
        return [connection for _, connection in self.begun]


async def test_one_after_the_other_they_take_one_task(connections: list[socket.socket], nursery: trio.Nursery) -> None:
    talk = Conversations()
    talk.may_end.set()
    attendants = Attendants(talk.hold)
    for connection in connections[:5]:
        attendants.give(connection, nursery)
        await trio.testing.wait_all_tasks_blocked()
    assert talk.connections == connections[:5]
    assert len(talk.tasks) == 1
    nursery.cancel_scope.cancel()


async def test_each_has_a_task_of_its_own_at_a_time(connections: list[socket.socket], nursery: trio.Nursery) -> None:
    talk = Conversations()
    attendants = Attendants(talk.hold)
    for connection in connections:
        attendants.give(connection, nursery)
    await trio.testing.wait_all_tasks_blocked()
    assert len(talk.tasks) == len(connections)
    assert set(talk.connections) == set(connections)
    nursery.cancel_scope.cancel()


async def test_behind_a_burst_some_stay_and_the_others_go(connections: list[socket.socket]) -> None:
    talk = Conversations()
    attendants = Attendants(talk.hold)
    async with trio.open_nursery() as tasks:
        for connection in connections:
            attendants.give(connection, tasks)
        await trio.testing.wait_all_tasks_blocked()
        talk.may_end.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(tasks.child_tasks) == MOST_IDLE
        attendants.dismiss()
    # The nursery has ended: nobody stayed.


async def test_dismissed_ones_finish_their_conversation(connections: list[socket.socket]) -> None:
    talk = Conversations()
    attendants = Attendants(talk.hold)
    async with trio.open_nursery() as tasks:
        attendants.give(connections[0], tasks)
        await trio.testing.wait_all_tasks_blocked()
        attendants.dismiss()
        await trio.testing.wait_all_tasks_blocked()
        assert len(tasks.child_tasks) == 1
        talk.may_end.set()


async def test_one_that_was_cancelled_is_given_nothing(connections: list[socket.socket], nursery: trio.Nursery) -> None:
    talk = Conversations()
    talk.may_end.set()
    attendants = Attendants(talk.hold)
    async with trio.open_nursery() as tasks:
        attendants.give(connections[0], tasks)
        await trio.testing.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    attendants.give(connections[1], nursery)
    await trio.testing.wait_all_tasks_blocked()
    assert talk.connections == connections[:2]
    nursery.cancel_scope.cancel()
