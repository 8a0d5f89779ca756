# SPDX-License-Identifier: GPL-3.0-or-later
"""One request, one answer line: and all that a worker can do instead."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing

from defang_mux.pool.state import Slot
from defang_mux.process.deadlines import Deadlines
from defang_mux.process.exchange import (
    NO_RESPONSE,
    NOT_SENT,
    STOPPING,
    TOO_LONG,
    Exchanged,
    Fault,
    TimedOut,
    Unborn,
    Unseen,
    exchange,
)
from defang_mux.process.slot import Worker
from defang_mux.process.spawn import Pipes, close_all, open_pipes
from tests.mux.conftest import FakeProcess

BUSY_S = 120


@pytest.fixture
def pipes() -> Pipes:
    return open_pipes(status_tags=False)


@pytest.fixture
def process(pipes: Pipes) -> Iterator[FakeProcess]:
    process = FakeProcess(40_000_000, pipes.theirs)
    close_all(pipes.theirs)
    yield process
    process.close()


@pytest.fixture
async def worker(pipes: Pipes, process: FakeProcess) -> AsyncIterator[Worker]:
    worker = Worker(Slot(number=0, changed_at=0), pipes, logging.getLogger("defang.mux"))
    yield worker
    worker.close()
    os.close(pipes.stderr)


async def ask(worker: Worker) -> Exchanged:
    return await exchange(worker, b"scan Q1 /d")


async def serve(process: FakeProcess, *pieces: bytes, then_close: bool = False, gap_s: float = 1) -> None:
    assert await process.read_line() == b"scan Q1 /d"
    for piece in pieces:
        await trio.sleep(gap_s)
        process.say(piece)
    if then_close:
        process.close()


@pytest.mark.parametrize(
    "pieces",
    [[b"ok\n"], [b"o", b"k", b"\n"], [b"x" * 4095 + b"\n"], [b"x" * 2000, b"y" * 2095, b"\n"], [b"\n"]],
    ids=["whole", "byte by byte", "longest", "longest in pieces", "empty"],
)
async def test_answer_is_one_line_however_it_arrives(
    worker: Worker, process: FakeProcess, pieces: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(process, *pieces))
        assert await ask(worker) == Exchanged(b"".join(pieces))


@pytest.mark.parametrize("pieces", [[b"x" * 4096 + b"\n"], [b"x" * 4096, b"x"], [b"x" * 5000]])
async def test_answer_over_the_limit_is_an_error(
    worker: Worker, process: FakeProcess, pieces: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(process, *pieces))
        with pytest.raises(Fault) as caught:
            await ask(worker)
    assert caught.value.reply == TOO_LONG
    assert not caught.value.died


async def test_bytes_behind_the_answer_make_the_worker_unfit(
    worker: Worker, process: FakeProcess, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(process, b"ok\nok 1 ok 250 2.1.0 0\n"))
        done = await ask(worker)
    assert done.answer == b"ok\n"
    assert done.unfit is not None


async def test_worker_that_spoke_unasked_does_not_get_the_request(worker: Worker, process: FakeProcess) -> None:
    process.say(b"ok\n")
    with pytest.raises(Unseen) as caught:
        await ask(worker)
    assert not caught.value.died
    assert process.stdin is not None
    with pytest.raises(BlockingIOError):
        os.read(process.stdin, 100)


async def test_dead_worker_does_not_get_the_request(worker: Worker, process: FakeProcess) -> None:
    process.close()
    with pytest.raises(Unseen) as caught:
        await ask(worker)
    assert caught.value.died


async def test_worker_that_closed_its_input_alone_does_not_get_the_request(
    worker: Worker, process: FakeProcess
) -> None:
    os.close(process.stdin)
    process.stdin = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(Unseen):
        await ask(worker)


async def test_request_longer_than_the_pipe_is_written_as_the_worker_reads(
    worker: Worker, process: FakeProcess, nursery: trio.Nursery
) -> None:
    line = b"x" * 180_000
    read = b""

    async def serve() -> None:
        nonlocal read
        while not read.endswith(b"\n"):
            await trio.lowlevel.wait_readable(process.stdin)
            read += os.read(process.stdin, 65536)
        process.say(b"ok\n")

    nursery.start_soon(serve)
    assert await exchange(worker, line) == Exchanged(b"ok\n")
    assert read == line + b"\n"


async def test_worker_that_stops_reading_is_given_up(worker: Worker, autojump_clock: trio.testing.MockClock) -> None:
    deadlines = Deadlines(BUSY_S)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.keep)
        deadlines.begin(worker, trio.current_time())
        with pytest.raises(TimedOut):
            await exchange(worker, b"x" * 180_000)
        assert trio.current_time() == BUSY_S
        nursery.cancel_scope.cancel()


async def test_worker_that_closes_its_input_in_the_middle_of_a_request_failed_it(
    worker: Worker, process: FakeProcess, nursery: trio.Nursery
) -> None:
    async def hang_up() -> None:
        os.close(process.stdin)
        process.stdin = os.open(os.devnull, os.O_RDONLY)

    nursery.start_soon(hang_up)
    with pytest.raises(Fault) as caught:
        await exchange(worker, b"x" * 180_000)
    assert caught.value.reply == NOT_SENT
    assert caught.value.died


@pytest.mark.parametrize("said", [b"", b"ok 2"])
async def test_death_before_the_end_of_the_answer_is_no_answer(
    worker: Worker, process: FakeProcess, said: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(process, *([said] if said else []), then_close=True))
        with pytest.raises(Fault) as caught:
            await ask(worker)
    assert caught.value.reply == NO_RESPONSE
    assert caught.value.died


@pytest.mark.parametrize("heard_before", [0, 19, 120])
async def test_busy_timeout_runs_from_the_request(
    worker: Worker, process: FakeProcess, heard_before: float, autojump_clock: trio.testing.MockClock
) -> None:
    deadlines = Deadlines(BUSY_S)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.keep)
        await trio.sleep(heard_before)
        # Bytes alone do not make it longer.
        nursery.start_soon(lambda: serve(process, *[b"x"] * 200))
        deadlines.begin(worker, trio.current_time())
        with pytest.raises(TimedOut):
            await ask(worker)
        assert trio.current_time() - heard_before == BUSY_S
        nursery.cancel_scope.cancel()


async def test_interruption_between_two_bytes_of_the_answer_is_not_forgotten(
    worker: Worker, process: FakeProcess, autojump_clock: trio.testing.MockClock
) -> None:
    async def answer_slowly() -> None:
        await process.read_line()
        # Both before the task that waits has a turn.
        process.say(b"o")
        await trio.lowlevel.checkpoint()
        worker.interrupt()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_slowly)
        with pytest.raises(TimedOut):
            await ask(worker)


async def test_last_words_of_a_reaped_worker_count_although_its_pipe_is_held_open(
    worker: Worker, process: FakeProcess, autojump_clock: trio.testing.MockClock
) -> None:
    async def die() -> None:
        await process.read_line()
        worker.exited.set()
        process.say(b"ok\n")
        worker.interrupt()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(die)
        assert await ask(worker) == Exchanged(b"ok\n")


async def test_long_answer_of_a_worker_that_ends_behind_it_counts(
    worker: Worker, process: FakeProcess, autojump_clock: trio.testing.MockClock
) -> None:
    long = b'ok "' + b"A" * 20_000 + b'"-\n'

    async def die() -> None:
        await process.read_line()
        process.say(long)
        worker.exited.set()
        worker.interrupt()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(die)
        assert await exchange(worker, b"scan Q1 /d", limit_bytes=len(long)) == Exchanged(long)


async def test_reaped_worker_does_not_get_the_request_although_its_pipes_are_held_open(
    worker: Worker, process: FakeProcess, autojump_clock: trio.testing.MockClock
) -> None:
    worker.exited.set()
    with pytest.raises(Unseen) as caught:
        await ask(worker)
    assert caught.value.died
    assert trio.current_time() == 0


async def test_what_a_worker_says_is_kept_up_to_a_limit_for_each_request(worker: Worker, pipes: Pipes) -> None:
    worker.takes(b"scan Q1 /d")
    for _ in range(90):
        worker._heard(b"x" * 4096)
    assert sum(map(len, worker.said)) == 16_384
    worker.takes(b"scan Q2 /d")
    worker._heard(b"short")
    assert worker.said == ["short"]


async def test_abandoned_request_is_told_so(
    worker: Worker, process: FakeProcess, autojump_clock: trio.testing.MockClock
) -> None:
    async def give_up() -> None:
        await process.read_line()
        worker.abandoned = True
        worker.interrupt()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up)
        with pytest.raises(Fault) as caught:
            await ask(worker)
    assert caught.value.reply == STOPPING


async def test_a_worker_that_will_never_be_is_no_peer(worker: Worker, autojump_clock: trio.testing.MockClock) -> None:
    async def give_up() -> None:
        await trio.sleep(3)
        worker.unborn_because = "no memory"
        worker.interrupt()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up)
        with pytest.raises(Unborn, match="no memory"):
            await ask(worker)
    assert trio.current_time() == 3
    with pytest.raises(Unborn, match="no memory"):
        await ask(worker)
