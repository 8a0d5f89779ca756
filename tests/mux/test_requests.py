# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection, one line, one reply: limits, ends, timeouts. Real sockets, a replier in memory."""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from defang_common.host.daemon import StartFailed
from defang_common.wire.lines import MAX_REQUEST_LINE_BYTES
from defang_mux.sockets.listen import Listener, listen_for_all, listen_for_owner, unix_path
from defang_mux.sockets.requests import TOO_LONG, Door

LOG = logging.getLogger("defang.mux.test")
TIMEOUT_S = 10


class Echo:
    """Replies with the line in brackets, and remembers the lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.reply: Callable[[bytes], bytes] = lambda line: b"[" + line + b"]\n"

    async def __call__(self, line: bytes) -> bytes:
        self.lines.append(line)
        return self.reply(line)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def path(spool: Path, echo: Echo, nursery: trio.Nursery) -> AsyncIterator[Path]:
    listener = listen_for_owner(spool / "mx.sock", group=False, backlog=5)
    door = Door(listener, echo, command_timeout_s=TIMEOUT_S, log=LOG, max_silent=3)
    async with trio.open_nursery() as clients:
        clients.start_soon(door.serve, clients)
        yield spool / "mx.sock"
        clients.cancel_scope.cancel()
    door.close()


async def connect(path: Path) -> trio.SocketStream:
    return await trio.open_unix_socket(path)


async def read_all(stream: trio.SocketStream) -> bytes:
    pieces = [piece async for piece in stream]
    return b"".join(pieces)


async def talk(path: Path, *pieces: bytes, end: bool = False) -> bytes:
    async with await connect(path) as stream:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
        if end:
            await stream.send_eof()
        return await read_all(stream)


@pytest.mark.parametrize(
    ("pieces", "line"),
    [
        ([b"free\n"], b"free"),
        ([b"f", b"re", b"e\n"], b"free"),
        ([b"free\r\n"], b"free"),
        ([b"free", b"\r", b"\n"], b"free"),
        ([b"free\nstatus\n"], b"free"),
        ([b"free \n"], b"free "),
        ([b"\n"], b""),
        ([b"a\0b\n"], b"a"),
        ([b"x" * 4094 + b"\n"], b"x" * 4094),
        ([b"x" * 4094 + b"\r\n"], b"x" * 4094),
        ([b"x" * 4000, b"y" * 94 + b"\n"], b"x" * 4000 + b"y" * 94),
    ],
)
async def test_line_reaches_the_replier_without_its_end(
    path: Path, echo: Echo, pieces: list[bytes], line: bytes
) -> None:
    assert await talk(path, *pieces) == b"[" + line + b"]\n"
    assert echo.lines == [line]


@pytest.mark.parametrize(
    "pieces", [[b"x" * 4095 + b"\n"], [b"x" * 4094, b"y\n"], [b"x" * 20_000, b"y" * 20_000, b"\n"], [b"x" * 9000]]
)
async def test_line_over_the_limit_is_an_error(path: Path, echo: Echo, pieces: list[bytes]) -> None:
    assert await talk(path, *pieces, end=True) == TOO_LONG
    assert echo.lines == []


async def test_end_instead_of_newline_takes_nothing_from_the_line(path: Path, echo: Echo) -> None:
    assert await talk(path, b"free", end=True) == b"[free]\n"


async def test_connect_and_close_costs_nothing(path: Path, echo: Echo) -> None:
    assert await talk(path, end=True) == b""
    async with await connect(path):
        pass
    await trio.testing.wait_all_tasks_blocked()
    assert echo.lines == []


async def test_line_has_to_be_whole_in_time(path: Path, echo: Echo, autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    stream = await connect(path)
    async with trio.open_nursery() as nursery:

        async def dribble() -> None:
            for _ in range(TIMEOUT_S - 1):
                await trio.sleep(1)
                await stream.send_all(b"x")

        nursery.start_soon(dribble)
        assert await read_all(stream) == b""
    assert trio.current_time() - began == TIMEOUT_S
    assert echo.lines == []
    await stream.aclose()


async def test_line_that_began_at_once_is_not_carried_out_in_part(
    path: Path, echo: Echo, autojump_clock: trio.testing.MockClock
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.fspath(path))
        connection.sendall(b"scan Q1 /sp")
        await trio.sleep(TIMEOUT_S + 1)
        assert connection.recv(100) == b""
    assert echo.lines == []


async def test_client_that_goes_away_changes_nothing(path: Path, echo: Echo) -> None:
    echo.reply = lambda _line: b"x" * 1_000_000
    stream = await connect(path)
    await stream.send_all(b"workers\n")
    await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    echo.reply = lambda line: line
    assert await talk(path, b"free\n") == b"free"


async def test_long_reply_arrives_whole_at_a_slow_reader(path: Path, echo: Echo) -> None:
    reply = os.urandom(1_000_000)
    echo.reply = lambda _line: reply
    stream = await connect(path)
    await stream.send_all(b"workers\n")
    await trio.testing.wait_all_tasks_blocked()
    assert await read_all(stream) == reply
    await stream.aclose()


async def test_reader_that_stops_is_given_up_in_time(
    path: Path, echo: Echo, autojump_clock: trio.testing.MockClock
) -> None:
    echo.reply = lambda _line: b"x" * 1_000_000
    stream = await connect(path)
    await stream.send_all(b"workers\n")
    await trio.sleep(TIMEOUT_S + 1)
    assert len(await read_all(stream)) < 1_000_000
    await stream.aclose()


@pytest.mark.parametrize("goes", [True, False])
async def test_reply_about_a_message_that_nobody_takes_is_logged(
    path: Path, echo: Echo, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, goes: bool
) -> None:
    echo.reply = lambda _line: b"x" * 1_000_000
    stream = await connect(path)
    await stream.send_all(b"scan Q1 /d\n")
    if goes:
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
    await trio.sleep(TIMEOUT_S + 1)
    cause = "Broken pipe" if goes else "the client reads nothing for 10 s"
    assert caplog.messages == [f"Q1: reply not taken: {cause}"]
    await stream.aclose()


@pytest.mark.parametrize("error", [LookupError("a bug"), OSError(28, "No space left")])
async def test_error_of_ours_closes_one_connection_and_is_logged(
    path: Path, echo: Echo, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(_line: bytes) -> bytes:
        raise error

    echo.reply = fail
    assert await talk(path, b"scan Q1 /d\n") == b""
    assert caplog.messages == ["Q1: a request failed"]
    assert str(error) in caplog.text
    echo.reply = lambda line: line
    assert await talk(path, b"free\n") == b"free"


async def test_too_many_silent_connections_are_closed_at_once(path: Path, echo: Echo) -> None:
    silent = [await connect(path) for _ in range(3)]
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.BrokenResourceError):
        # Closed with our line unread: a reset, not an end.
        await talk(path, b"free\n")
    for stream in silent:
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert await talk(path, b"free\n") == b"[free]\n"


async def test_others_get_their_turn_while_connections_come_without_end() -> None:
    ours, theirs = socket.socketpair()

    class Flood:
        accepted = 0

        def fileno(self) -> int:
            return ours.fileno()

        def accept(self) -> tuple[socket.socket, None]:
            self.accepted += 1
            assert self.accepted < 10_000
            return ours.dup(), None

    flood = Flood()
    door = Door(Listener(flood, None, None), Echo(), command_timeout_s=TIMEOUT_S, log=LOG, max_silent=0)  # type: ignore[arg-type]
    theirs.send(b"x")
    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.serve, nursery)
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert flood.accepted > 0


# Listening


@pytest.mark.parametrize(("group", "mode"), [(False, 0o700), (True, 0o770)])
def test_socket_is_for_its_owner_and_maybe_the_group(spool: Path, group: bool, mode: int) -> None:
    listener = listen_for_owner(spool / "s", group=group, backlog=5)
    assert stat.S_IMODE((spool / "s").stat().st_mode) == mode
    listener.close()
    assert not (spool / "s").exists()


def test_socket_for_all_is_open_to_all(spool: Path) -> None:
    listener = listen_for_all(f"unix:{spool}/s", backlog=5)
    assert stat.S_IMODE((spool / "s").stat().st_mode) == 0o777
    listener.close()


def test_stale_socket_is_replaced_and_a_living_one_is_not(spool: Path) -> None:
    first = listen_for_owner(spool / "s", group=False, backlog=5)
    with pytest.raises(StartFailed, match="another program"):
        listen_for_owner(spool / "s", group=False, backlog=5)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(spool / "s"))
    first.socket.close()
    assert (spool / "s").exists()
    second = listen_for_owner(spool / "s", group=False, backlog=5)
    first.close()
    assert (spool / "s").exists()
    second.close()


def test_socket_of_a_successor_is_not_removed(spool: Path) -> None:
    first = listen_for_owner(spool / "s", group=False, backlog=5)
    # As somebody might who thinks that the daemon is gone.
    (spool / "s").unlink()
    second = listen_for_owner(spool / "s", group=False, backlog=5)
    first.close()
    assert (spool / "s").exists()
    second.close()
    assert not (spool / "s").exists()


def test_living_socket_with_a_full_backlog_is_not_replaced(spool: Path) -> None:
    listener = listen_for_owner(spool / "s", group=False, backlog=0)
    with socket.socket(socket.AF_UNIX) as waits:
        waits.connect(str(spool / "s"))
        with pytest.raises(StartFailed, match="another program"):
            listen_for_owner(spool / "s", group=False, backlog=5)
    listener.close()


def test_file_in_the_way_is_left_alone(spool: Path) -> None:
    (spool / "s").write_text("precious")
    with pytest.raises(StartFailed, match="in the way"):
        listen_for_owner(spool / "s", group=False, backlog=5)
    assert (spool / "s").read_text() == "precious"


@pytest.mark.parametrize("name", ["no-such-directory/s", "x" * 200])
def test_impossible_path_is_an_error_for_people(spool: Path, name: str) -> None:
    with pytest.raises(StartFailed, match="cannot listen"):
        listen_for_owner(spool / name, group=False, backlog=5)


@pytest.mark.parametrize("address", ["inet:0", "inet:99999", "inet:x", "inet:", "relative", "unix:relative", ""])
def test_address_that_is_none_is_an_error_for_people(address: str) -> None:
    with pytest.raises(StartFailed):
        listen_for_all(address, backlog=5)


@pytest.mark.parametrize("kind", ["inet", "inet6"])
def test_tcp_address_means_the_loopback(kind: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listener = listen_for_all(f"{kind}:{port}", backlog=5)
    assert listener.socket.getsockname()[:2] == ({"inet": "127.0.0.1", "inet6": "::1"}[kind], port)
    assert listener.path is None
    listener.close()


def test_unix_addresses_are_told_from_others() -> None:
    assert unix_path("/a") == unix_path("unix:/a") == unix_path("local:/a") == Path("/a")
    assert unix_path("inet:25") is None


STATE = b' "' + b"A" * 80_000 + b'"' + b"B" * 80_000


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_request_may_be_longer_by_its_state(path: Path, echo: Echo, pieces: int) -> None:
    line = b"senderok " + b"x" * (MAX_REQUEST_LINE_BYTES - 9) + STATE
    size = -(-len(line) // pieces)
    cut = [line[at : at + size] for at in range(0, len(line), size)]
    assert await talk(path, *cut, b"\n") == b"[" + line + b"]\n"


@pytest.mark.parametrize(
    "line",
    [
        b"senderok " + b"x" * (MAX_REQUEST_LINE_BYTES - 8) + b' ""',
        b"senderok <a@b>" + STATE + b"A" * 20_000,
        b"senderok <a@b>" + STATE + b"!",
        b"own" + STATE,
        b"free " + b"x" * 5000 + b' ""',
    ],
)
async def test_what_is_too_long_for_a_request_and_its_state_is_refused(path: Path, echo: Echo, line: bytes) -> None:
    assert await talk(path, line + b"\n") == TOO_LONG
    assert echo.lines == []
