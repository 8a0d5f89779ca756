# SPDX-License-Identifier: GPL-3.0-or-later
"""A message's directory: what is in it, with which modes, and that nothing of it stays."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from defang_common.wire import results
from defang_common.wire.body import Body
from defang_common.wire.header import Header
from defang_milter.workdir import BUFFER_BYTES, NEW_BODY_CHUNK_BYTES, WorkDir, new_body_chunks


@pytest.fixture
def path(spool: Path) -> Path:
    return spool / "mdefang-Q1"


@pytest.fixture(params=[0o077, 0o027], ids=["private", "group"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _fill(workdir: WorkDir, body: bytes = b"") -> None:
    header = Header(None)
    header.add(b"Subject", b"a\n b")
    workdir.write_header(header, with_end=True)
    workdir.write_header_files(header)
    workdir.append_input(body)
    workdir.end_input(Body(strip_bare_cr=False))
    workdir.append_commands(b"F\n")


def test_files_have_the_modes_that_the_umask_leaves(path: Path, umask: int) -> None:
    workdir = WorkDir(str(path), reopen=False)
    _fill(workdir)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750 & ~umask
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()}
    assert modes == dict.fromkeys(["HEADERS", "PRISTINE_HEADERS", "INPUTMSG", "COMMANDS"], 0o640 & ~umask)


def test_an_existing_directory_is_not_touched(path: Path) -> None:
    path.mkdir()
    (path / "INPUTMSG").write_bytes(b"another message")
    with pytest.raises(FileExistsError):
        WorkDir(str(path), reopen=False)
    assert (path / "INPUTMSG").read_bytes() == b"another message"


@pytest.mark.parametrize("reopen", [False, True])
def test_a_large_body_is_written_in_pieces_and_whole(path: Path, *, reopen: bool) -> None:
    before = _open_files()
    workdir = WorkDir(str(path), reopen=reopen)
    pieces = [bytes([number]) * (BUFFER_BYTES // 2) for number in range(7)]
    for piece in pieces:
        workdir.append_input(piece)
        if reopen:
            assert _open_files() == before
    workdir.end_input(Body(strip_bare_cr=False))
    assert (path / "INPUTMSG").read_bytes() == b"".join(pieces)
    assert _open_files() == before


def test_a_held_carriage_return_ends_the_message(path: Path) -> None:
    workdir = WorkDir(str(path), reopen=False)
    body = Body(strip_bare_cr=False)
    workdir.append_input(body.feed(b"end\r"))
    workdir.end_input(body)
    assert (path / "INPUTMSG").read_bytes() == b"end\r"


def test_an_empty_message_has_an_empty_file(path: Path) -> None:
    workdir = WorkDir(str(path), reopen=False)
    workdir.write_header(Header(None), with_end=False)
    workdir.end_input(Body(strip_bare_cr=False))
    assert {file.name: file.read_bytes() for file in path.iterdir()} == {"INPUTMSG": b""}


def test_commands_are_appended_and_not_made_for_nothing(path: Path) -> None:
    workdir = WorkDir(str(path), reopen=False)
    workdir.append_commands(b"")
    assert not (path / "COMMANDS").exists()
    workdir.append_commands(b"S<a>\n")
    workdir.append_commands(b"F\n")
    assert (path / "COMMANDS").read_bytes() == b"S<a>\nF\n"


@pytest.mark.parametrize("name", ["COMMANDS", "INPUTMSG"])
def test_a_file_that_has_gone_is_not_begun_anew(path: Path, name: str) -> None:
    workdir = WorkDir(path.as_posix(), reopen=True)
    workdir.append_commands(b"S<a@example.com>\n")
    workdir.append_input(b"x" * BUFFER_BYTES)
    (path / name).unlink()
    go_on = {"COMMANDS": workdir.append_commands, "INPUTMSG": workdir.append_input}[name]
    with pytest.raises(FileNotFoundError):
        go_on(b"x" * BUFFER_BYTES)


def test_results_are_read_whole_and_one_byte_beyond_the_limit(path: Path) -> None:
    workdir = WorkDir(str(path), reopen=False)
    with pytest.raises(FileNotFoundError):
        workdir.results()
    for size in (0, 2, results.MAX_FILE_BYTES, results.MAX_FILE_BYTES + 1):
        (path / "RESULTS").write_bytes(b"x" * size)
        assert len(workdir.results()) == size
    (path / "RESULTS").write_bytes(b"x" * 1_000_000)
    assert len(workdir.results()) == results.MAX_FILE_BYTES + 1


def test_a_new_body_comes_in_large_pieces(path: Path) -> None:
    workdir = WorkDir(str(path), reopen=False)
    content = os.urandom(NEW_BODY_CHUNK_BYTES + 10)
    (path / "NEWBODY").write_bytes(content)
    descriptor = workdir.open_new_body()
    chunks = list(new_body_chunks(descriptor))
    os.close(descriptor)
    assert [len(chunk) for chunk in chunks] == [NEW_BODY_CHUNK_BYTES, 10]
    assert b"".join(chunks) == content


def test_removing_takes_all_that_a_worker_left(path: Path) -> None:
    before = _open_files()
    workdir = WorkDir(str(path), reopen=False)
    workdir.append_input(b"x" * BUFFER_BYTES)
    (path / "Work" / "deeper").mkdir(parents=True)
    (path / "Work" / "deeper" / "part.1").write_bytes(b"x")
    (path / "RESULTS").write_bytes(b"F\n")
    outside = path.parent / "outside"
    outside.mkdir()
    (outside / "stays").write_bytes(b"")
    (path / "link").symlink_to(outside)
    workdir.remove()
    assert not path.exists()
    assert (outside / "stays").exists()
    assert _open_files() == before


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o600])
def test_removing_takes_a_directory_that_forbids_it(path: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    real = os.scandir

    def as_another_than_root(where: str) -> Any:
        if Path(where).stat().st_mode & 0o700 != 0o700:
            raise PermissionError
        return real(where)

    workdir = WorkDir(str(path), reopen=False)
    closed = path / "Work" / "unpacked"
    closed.mkdir(parents=True)
    (closed / "part.1").write_bytes(b"x")
    closed.chmod(mode)
    monkeypatch.setattr(os, "scandir", as_another_than_root)
    workdir.remove()
    assert not path.exists()


@pytest.mark.parametrize("late", [1, 3])
def test_removing_outlasts_a_worker_that_still_writes(path: Path, monkeypatch: pytest.MonkeyPatch, late: int) -> None:
    real = os.rmdir
    tries: list[str] = []

    def as_a_worker_writes(where: str) -> None:
        tries.append(where)
        if len(tries) <= late:
            (path / "RESULTS").write_bytes(b"F\n")
        real(where)

    workdir = WorkDir(str(path), reopen=False)
    _fill(workdir)
    monkeypatch.setattr(os, "rmdir", as_a_worker_writes)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    workdir.remove()
    assert not path.exists()
    assert len(tries) == late + 1


def test_removing_a_directory_without_end_of_new_files_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_a_worker_writes(_where: str) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    workdir = WorkDir(str(path), reopen=False)
    monkeypatch.setattr(os, "rmdir", as_a_worker_writes)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with pytest.raises(OSError, match="not empty"):
        workdir.remove()


def test_an_abandoned_directory_stays_and_holds_no_file_open(path: Path) -> None:
    before = _open_files()
    workdir = WorkDir(str(path), reopen=False)
    workdir.append_input(b"x" * BUFFER_BYTES)
    workdir.abandon()
    assert (path / "INPUTMSG").stat().st_size == BUFFER_BYTES
    assert _open_files() == before


def test_a_full_disk_is_an_error_and_not_a_shorter_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workdir = WorkDir(str(path), reopen=False)
    write = os.write

    def write_a_part(descriptor: int, pieces: Sequence[bytes]) -> int:
        return write(descriptor, b"".join(pieces)[:5])

    def fail(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", write_a_part)
    workdir.append_commands(b"0123456789")
    assert (path / "COMMANDS").read_bytes() == b"0123456789"
    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        workdir.append_commands(b"0123456789")


def test_a_body_in_tiny_pieces_is_written_whole(path: Path) -> None:
    workdir = WorkDir(str(path), reopen=False)
    for _ in range(3000):
        workdir.append_input(b"x")
    workdir.end_input(Body(strip_bare_cr=False))
    assert (path / "INPUTMSG").read_bytes() == b"x" * 3000
