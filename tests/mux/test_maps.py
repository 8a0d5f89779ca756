# SPDX-License-Identifier: GPL-3.0-or-later
"""The map socket: lookups in, results out, in their order. A real socket, a worker in memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from defang_mux.sockets.listen import listen_for_own
from defang_mux.sockets.maps import MapDoor

ANSWERS = {
    b"map a b": b"OK val%20for%20b\n",
    b"map a c": b"NOTFOUND \n",
    b"map a %C3%A9%20b%0Ac": b"OK odd\n",
    b"map a ": b"PERM no%20key\n",
    b"map x b": b"error: No free workers\n",
    b"map y b": b"ERR No response from worker\n",
    b"map z b": b"MAYBE later\n",
}


class Site:
    """A door with its address."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.held: trio.Event | None = None
        self.door = MapDoor(
            listen_for_own(str(path), group=False, backlog=5),
            self._answer,
            command_timeout_s=10,
            log=logging.getLogger(),
        )

    async def _answer(self, line: bytes) -> bytes:
        self.lines.append(line)
        if self.held is not None:
            await self.held.wait()
        return ANSWERS[line]

    async def connect(self) -> trio.SocketStream:
        return await trio.open_unix_socket(self.path)


@pytest.fixture
async def site(spool: Path, nursery: trio.Nursery) -> AsyncIterator[Site]:
    site = Site(spool / "map.sock")
    async with trio.open_nursery() as clients:
        clients.start_soon(site.door.serve, clients)
        yield site
        clients.cancel_scope.cancel()
    site.door.close()


async def read(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive_some()
        if not piece:
            break
        data += piece
    return data


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"3:a b,", b"12:OK val for b,"),
        (b"3:a c,", b"9:NOTFOUND ,"),
        (b"8:a \xc3\xa9 b\nc,", b"6:OK odd,"),
        (b"2:a ,", b"11:PERM no key,"),
        (b"1:a,", b"27:PERM Invalid request format,"),
        (b"3:a b;", b"40:PERM Netstring missing terminating comma,"),
        (b"3:x b,", b"20:TEMP No free workers,"),
        (b"3:y b,", b"28:TEMP No response from worker,"),
        (b"3:z b,", b"16:TEMP MAYBE later,"),
        (b"5002:a " + b"x" * 5000 + b",", b"21:PERM Request too long,"),
        (b"3:a b,3:a c,", b"12:OK val for b,9:NOTFOUND ,"),
    ],
)
async def test_a_lookup_gets_its_result(site: Site, request_: bytes, reply: bytes) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request_)
        assert await read(stream, len(reply)) == reply


async def test_lookups_may_follow_one_another(site: Site) -> None:
    async with await site.connect() as stream:
        for _ in range(3):
            await stream.send_all(b"3:a")
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(b" b,")
            assert await read(stream, 16) == b"12:OK val for b,"
    assert site.lines == [b"map a b"] * 3


@pytest.mark.parametrize("request_", [b"70000:", b"-1:a,", b"free\n"])
async def test_what_is_no_netstring_ends_the_connection(site: Site, request_: bytes) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request_)
        assert await read(stream, 1) == b""
    assert site.lines == []


async def test_a_stop_ends_connections_on_which_nothing_is_asked(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(b"3:a b,")
        await read(stream, 16)
        site.door.close()
        assert await read(stream, 1) == b""


async def test_a_stop_lets_a_lookup_in_work_have_its_result(site: Site) -> None:
    site.held = trio.Event()
    async with await site.connect() as stream:
        await stream.send_all(b"3:a b,")
        await trio.testing.wait_all_tasks_blocked()
        site.door.close()
        site.held.set()
        assert await read(stream, 100) == b"12:OK val for b,"


async def test_the_socket_is_the_owners(site: Site) -> None:
    assert site.path.stat().st_mode & 0o777 == 0o700
