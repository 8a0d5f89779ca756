# SPDX-License-Identifier: GPL-3.0-or-later
"""What workers say beside answers: lines whole or in pieces, left-overs, status tags."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from defang_mux.process.chatter import CUT, MAX_LINE_BYTES, LineReader, tag_of


def reader_and_pipe() -> tuple[LineReader, int, list[bytes]]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    taken: list[bytes] = []
    return LineReader(read, taken.append), write, taken


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\nc", b"\n"], [b"ab", b"c"]),
        ([b"no newline"], [b"no newline"]),
        ([b"\n\n"], [b"", b""]),
        ([b"x" * MAX_LINE_BYTES + b"\n"], [b"x" * MAX_LINE_BYTES]),
        ([b"x" * MAX_LINE_BYTES + b"y\nz\n"], [b"x" * MAX_LINE_BYTES + CUT, b"z"]),
        ([b"x" * 16_384, b"y" * 16_384, b"y\nz\n"], [b"x" * MAX_LINE_BYTES + CUT, b"z"]),
        ([b"x" * 16_384, b"y"], [b"x" * MAX_LINE_BYTES + CUT]),
    ],
)
async def test_lines_are_handed_on(
    pieces: list[bytes], lines: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    reader, write, taken = reader_and_pipe()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        for piece in pieces:
            os.write(write, piece)
            await trio.sleep(1)
        os.close(write)
    assert taken == lines


async def test_drain_takes_what_is_there_although_the_pipe_is_held_open() -> None:
    reader, write, taken = reader_and_pipe()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.testing.wait_all_tasks_blocked()
        os.write(write, b"cause\nrest")
        reader.drain()
        reader.drain()
    assert taken == [b"cause", b"rest"]
    os.close(write)


async def test_drain_does_not_wait_for_what_is_being_written_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, write, taken = reader_and_pipe()
    read_from = os.read

    def read_and_write_more(descriptor: int, size: int) -> bytes:
        assert len(taken) < 10_000
        data = read_from(descriptor, size)
        os.write(write, b"more\n")
        return data

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.testing.wait_all_tasks_blocked()
        os.write(write, b"cause\n")
        monkeypatch.setattr(os, "read", read_and_write_more)
        reader.drain()
        monkeypatch.undo()
    assert taken[:2] == [b"cause", b"more"]
    os.close(write)


async def test_drain_after_the_end_does_nothing() -> None:
    reader, write, taken = reader_and_pipe()
    os.close(write)
    await reader.run()
    reader.drain()
    assert taken == []


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        (b"1:%20>%20Parsing%20Message%20Q7", b"1: > Parsing Message Q7"),
        (b"", b""),
        (b"%07%e9\x80", b"   "),
        (b"x" * 100, b"x" * 63),
    ],
)
def test_status_tag_is_decoded_cut_and_printable(line: bytes, tag: bytes) -> None:
    assert tag_of(line) == tag
