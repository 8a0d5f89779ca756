# SPDX-License-Identifier: GPL-3.0-or-later
"""The notification socket: who is told what, and what becomes of listeners that do not read. A real socket."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from defang_mux.pool.events import RereadForced, Tagged, TimeoutHit
from defang_mux.pool.state import Moved, State
from defang_mux.sockets.listen import listen_for_own
from defang_mux.sockets.notify import MAX_LISTENERS, NotifyDoor

TIMEOUT_S = 10


class Site:
    """A door with its address."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.streams: list[trio.SocketStream] = []
        self.door = NotifyDoor(
            listen_for_own(str(path), group=False, backlog=5),
            free=2,
            command_timeout_s=TIMEOUT_S,
            log=logging.getLogger(),
        )

    async def open(self) -> trio.SocketStream:
        stream = await trio.open_unix_socket(self.path)
        self.streams.append(stream)
        return stream

    async def connect(self, interest: bytes = b"") -> trio.SocketStream:
        stream = await self.open()
        assert await read(stream, 4) == b"*OK\n"
        await stream.send_all(interest)
        await trio.testing.wait_all_tasks_blocked(0.01)
        return stream

    def move(self, old: str, new: str, free: int, **more: Any) -> None:
        self.door.note(Moved(number=1, old=State[old], new=State[new], running=1, busy=0, free=free, **more))


@pytest.fixture
async def site(spool: Path) -> AsyncIterator[Site]:
    site = Site(spool / "notify.sock")
    async with trio.open_nursery() as clients:
        clients.start_soon(site.door.serve, clients)
        yield site
        clients.cancel_scope.cancel()
    for stream in site.streams:
        await stream.aclose()
    site.door.close()


async def read(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        if not piece:
            break
        data += piece
    return data


async def test_a_listener_is_told_of_a_request_as_by_the_original(site: Site) -> None:
    stream = await site.connect(b"?*\n")
    site.move("IDLE", "BUSY", 1, line=b"scan Q%41 /d more")
    site.move("BUSY", "IDLE", 2, line=b"scan Q%41 /d more")
    told = b"S 1 StateChange Idle -> Busy\nF 1\nS 1 scan QA\nS 1 StateChange Busy -> Idle\nF 2\n"
    assert await read(stream, len(told)) == told


async def test_the_last_free_worker_is_told_when_it_goes_and_when_one_is_back(site: Site) -> None:
    stream = await site.connect(b"?YZF\n")
    site.move("IDLE", "BUSY", 0, line=b"ping")
    site.move("STOPPED", "IDLE", 0)
    site.move("BUSY", "IDLE", 1)
    assert await read(stream, 12) == b"F 0\nZ\nZ\nF 1\nY\n"[:12]


async def test_timeouts_rereads_tags_and_deaths_are_told(site: Site) -> None:
    stream = await site.connect(b"?BRSU\n")
    site.door.note(TimeoutHit(number=1))
    site.door.note(RereadForced())
    site.door.note(Tagged(number=3, tag=b"> Reading Q1"))
    site.move("IDLE", "STOPPED", 2, unexpected=True)
    told = b"B\nR\nS 3 > Reading Q1\nU\nS 1 StateChange Idle -> Stopped\n"
    assert await read(stream, len(told)) == told


async def test_nothing_is_told_before_an_interest_and_a_new_one_replaces_the_old(site: Site) -> None:
    stream = await site.connect()
    site.door.note(RereadForced())
    await stream.send_all(b"hello\n?b!F\n?B\n")
    await trio.testing.wait_all_tasks_blocked(0.01)
    site.door.note(RereadForced())
    site.move("IDLE", "KILLED", 1)
    site.door.note(TimeoutHit(number=1))
    assert await read(stream, 2) == b"B\n"


async def test_listeners_over_the_limit_are_told_so(site: Site) -> None:
    streams = [await site.connect() for _ in range(MAX_LISTENERS)]
    refused = await site.open()
    assert await read(refused, 100) == b"*ERR No free listening slots\n"
    await streams.pop().aclose()
    await trio.testing.wait_all_tasks_blocked(0.01)
    await site.connect()


async def test_a_listener_that_does_not_read_is_hung_up_on_and_the_others_stay(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    lazy = await site.connect(b"?*\n")
    lively = await site.connect(b"?R\n")
    # More than the kernel's buffers and ours hold together.
    for _ in range(100):
        for _ in range(400):
            site.door.note(Tagged(number=1, tag=b"x" * 60))
        await trio.testing.wait_all_tasks_blocked()
    site.door.note(RereadForced())
    assert await read(lively, 2) == b"R\n"
    while await lazy.receive_some(65536):
        pass
    assert caplog.messages == ["A listener that reads too slowly was hung up on"]


async def test_a_stop_hangs_up(site: Site) -> None:
    stream = await site.connect(b"?*\n")
    site.door.close()
    assert await read(stream, 1) == b""
