# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of messages that are over: that no message sees another one's bytes, and nobody's change under their hands.

On /dev/shm, which is a tmpfs everywhere, for not every file system that tests run on has leases.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defang_common.wire.body import Body
from defang_milter import listener, spool_stock, workdir
from defang_milter.spool_stock import MAX_FILES, MAX_IDLE_S, Stock
from defang_milter.workdir import WorkDir

# What makes a message a large one here.
BUFFER_BYTES = 1000
LARGE = b"a" * 5000
OTHER = b"b" * 3000
THREADS = 8
MESSAGES_PER_THREAD = 50
WAIT_S = 60


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workdir, "BUFFER_BYTES", BUFFER_BYTES)
    monkeypatch.setattr(spool_stock, "_MIN_FREE_BYTES", 0)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


@pytest.fixture
def stock(directory: Path) -> Iterator[Stock]:
    stock = Stock(directory)
    yield stock
    stock.close()


class Message:
    """One message's way through the front end."""

    def __init__(self, directory: Path, stock: Stock, name: str = "mdefang-Q1") -> None:
        self.path = directory / name
        self.input = self.path / "INPUTMSG"
        self.workdir = WorkDir(str(self.path), reopen=False, stock=stock)

    def write(self, content: bytes) -> Message:
        for at in range(0, len(content), 700):
            self.workdir.append_input(content[at : at + 700])
        return self

    def end(self) -> Message:
        self.workdir.end_input(Body(strip_bare_cr=False))
        return self

    def answer(self) -> Message:
        (self.path / "RESULTS").write_bytes(b"F\n")
        assert self.workdir.results() == b"F\n"
        return self

    def remove(self) -> None:
        self.workdir.remove()
        assert not self.path.exists()


def pass_through(directory: Path, stock: Stock, content: bytes = LARGE, name: str = "mdefang-Q1") -> int:
    """A message from its beginning to its end, all well; the inode that its INPUTMSG had."""
    message = Message(directory, stock, name).write(content).end().answer()
    assert message.input.read_bytes() == content
    inode = message.input.stat().st_ino
    message.remove()
    return inode


def spares(directory: Path) -> list[Path]:
    return sorted(directory.glob("stock-*/*"))


def test_a_large_message_is_written_into_the_file_of_the_one_before(directory: Path, stock: Stock) -> None:
    first = pass_through(directory, stock)
    assert [path.stat().st_ino for path in spares(directory)] == [first]
    assert pass_through(directory, stock, OTHER) == first
    assert pass_through(directory, stock, LARGE + OTHER) == first
    assert spares(directory)[0].parent.stat().st_mode & 0o777 == 0o700


def test_a_small_message_leaves_the_stock_alone(directory: Path, stock: Stock) -> None:
    pass_through(directory, stock, b"x" * (BUFFER_BYTES - 1))
    assert list(directory.iterdir()) == []
    kept = pass_through(directory, stock)
    assert pass_through(directory, stock, b"x") != kept
    assert [path.stat().st_ino for path in spares(directory)] == [kept]


def test_a_front_end_that_holds_no_file_open_has_no_use_for_it(directory: Path, stock: Stock) -> None:
    pass_through(directory, stock)
    message = WorkDir(str(directory / "mdefang-Q1"), reopen=True, stock=stock)
    message.append_input(OTHER)
    assert (directory / "mdefang-Q1" / "INPUTMSG").read_bytes() == OTHER
    message.remove()
    assert len(spares(directory)) == 1


def test_what_another_message_left_is_never_in_the_working_directory(directory: Path, stock: Stock) -> None:
    pass_through(directory, stock)
    message = Message(directory, stock).write(OTHER)
    assert list(message.path.iterdir()) == []
    message.end()
    assert message.input.read_bytes() == OTHER
    assert spares(directory) == []
    message.remove()


def _held(path: Path) -> tuple[Callable[[], bytes], Callable[[], None]]:
    descriptor = os.open(path, os.O_RDONLY)
    return lambda: os.pread(descriptor, 1 << 20, 0), lambda: os.close(descriptor)


def _held_for_writing(path: Path) -> tuple[Callable[[], bytes], Callable[[], None]]:
    descriptor = os.open(path, os.O_RDWR)
    return lambda: os.pread(descriptor, 1 << 20, 0), lambda: os.close(descriptor)


def _mapped(access: int) -> Callable[[Path], tuple[Callable[[], bytes], Callable[[], None]]]:
    def hold(path: Path) -> tuple[Callable[[], bytes], Callable[[], None]]:
        with path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, flags=access, prot=mmap.PROT_READ)
        return lambda: mapping[:], mapping.close

    return hold


def _sent(path: Path) -> tuple[Callable[[], bytes], Callable[[], None]]:
    here, there = socket.socketpair()
    with path.open("rb") as file:
        socket.send_fds(here, [b"x"], [file.fileno()])

    def read() -> bytes:
        _, (descriptor,), _, _ = socket.recv_fds(there, 1, 1)
        content = os.pread(descriptor, 1 << 20, 0)
        os.close(descriptor)
        return content

    def close() -> None:
        here.close()
        there.close()

    return read, close


def _held_by_a_process(path: Path) -> tuple[Callable[[], bytes], Callable[[], None]]:
    code = (
        "import sys; f = open(sys.argv[1], 'rb', 0); print(flush=True); sys.stdin.readline(); "
        "f.seek(0); sys.stdout.buffer.write(f.read())"
    )
    child = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"\n"
    return lambda: child.communicate(b"\n", WAIT_S)[0], lambda: None


HOLDERS = {
    "open": _held,
    "open for writing": _held_for_writing,
    "mapped, shared": _mapped(mmap.MAP_SHARED),
    "mapped, private": _mapped(mmap.MAP_PRIVATE),
    "on its way": _sent,
    "in another process": _held_by_a_process,
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS.keys())
def test_who_has_a_file_open_keeps_its_bytes(
    directory: Path, stock: Stock, hold: Callable[[Path], tuple[Callable[[], bytes], Callable[[], None]]]
) -> None:
    message = Message(directory, stock).write(LARGE).end().answer()
    inode = message.input.stat().st_ino
    read, close = hold(message.input)
    message.remove()
    assert pass_through(directory, stock, OTHER) != inode
    assert read() == LARGE
    close()


def test_who_opened_a_file_as_late_as_in_the_stock_keeps_its_bytes(directory: Path, stock: Stock) -> None:
    inode = pass_through(directory, stock)
    with spares(directory)[0].open("rb") as file:
        assert pass_through(directory, stock, OTHER) != inode
        assert file.read() == LARGE


def test_a_file_that_was_open_and_is_not_any_more_is_used(directory: Path, stock: Stock) -> None:
    message = Message(directory, stock).write(LARGE).end().answer()
    inode = message.input.stat().st_ino
    with message.input.open("rb"):
        message.remove()
    assert pass_through(directory, stock, OTHER) == inode


def _replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(LARGE)


def _link(path: Path) -> None:
    path.with_name("second").hardlink_to(path)


def _point_elsewhere(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _let_a_user_read(path: Path) -> None:
    """An access list that leaves the mode as it is (acl(5); the layout is that of Linux's posix_acl_xattr.h).

    It is the one attribute that a tmpfs has with every kernel and an owner may set.
    """
    owner, group, others = (path.stat().st_mode >> shift & 7 for shift in (6, 3, 0))
    entries = ((0x01, owner, -1), (0x02, group, 65534), (0x04, group, -1), (0x10, group, -1), (0x20, others, -1))
    packed = b"".join(struct.pack("<HHi", *entry) for entry in entries)
    mode = path.stat().st_mode
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    assert path.stat().st_mode == mode


CHANGES: dict[str, Callable[[Path], Any]] = {
    "replaced": _replace,
    "second name": _link,
    "grown": lambda path: path.write_bytes(LARGE + b"x"),
    "readable by others": lambda path: path.chmod(0o644),
    "access list": _let_a_user_read,
    "link": _point_elsewhere,
    "pipe": _make_pipe,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_file_that_was_changed_is_removed_as_ever(
    directory: Path, stock: Stock, change: Callable[[Path], Any]
) -> None:
    message = Message(directory, stock).write(LARGE).end().answer()
    change(message.input)
    message.remove()
    assert spares(directory) == []
    pass_through(directory, stock, OTHER)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_file_that_was_changed_in_the_stock_is_not_used(
    directory: Path, stock: Stock, change: Callable[[Path], Any]
) -> None:
    pass_through(directory, stock)
    (spare,) = spares(directory)
    change(spare)
    other = Message(directory, stock).write(OTHER)
    assert other.input.exists(), "begun anew, in its own directory"
    assert other.end().input.read_bytes() == OTHER
    other.remove()
    assert not os.path.lexists(spare)


def test_a_second_name_keeps_its_bytes(directory: Path, stock: Stock) -> None:
    message = Message(directory, stock).write(LARGE).end().answer()
    (directory / "copy").hardlink_to(message.input)
    message.remove()
    pass_through(directory, stock, OTHER)
    assert (directory / "copy").read_bytes() == LARGE


def test_a_second_name_from_before_the_end_keeps_its_bytes(directory: Path, stock: Stock) -> None:
    message = Message(directory, stock).write(LARGE)
    (directory / "copy").hardlink_to(message.input)
    message.end().answer().remove()
    assert spares(directory) == []
    assert (directory / "copy").read_bytes() == LARGE


def test_a_lease_of_somebody_elses_is_not_waited_for(directory: Path, stock: Stock) -> None:
    inode = pass_through(directory, stock)
    with spares(directory)[0].open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        assert pass_through(directory, stock, OTHER) != inode
        # Asked to be given back, and not yet taken away, which comes 45 s later.
        leases = [line.split() for line in Path("/proc/locks").read_text().splitlines() if f":{inode} " in line]
        assert [words[1:3] for words in leases] == [["LEASE", "BREAKING"]]


def test_only_files_of_answered_messages_are_kept(directory: Path, stock: Stock) -> None:
    Message(directory, stock).write(LARGE).end().remove()
    assert spares(directory) == []
    Message(directory, stock).write(LARGE).remove()
    assert spares(directory) == []


def test_a_message_that_ends_early_takes_its_file_with_it(directory: Path, stock: Stock) -> None:
    pass_through(directory, stock)
    Message(directory, stock).write(OTHER).remove()
    assert spares(directory) == []


def test_a_directory_that_stays_has_what_came_of_its_message_and_no_more(directory: Path, stock: Stock) -> None:
    pass_through(directory, stock)
    message = Message(directory, stock).write(OTHER)
    message.workdir.abandon()
    content = message.input.read_bytes()
    assert len(content) >= BUFFER_BYTES
    assert OTHER.startswith(content)
    assert spares(directory) == []


def test_a_full_disk_is_an_error_and_the_file_goes(
    directory: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_through(directory, stock)
    message = Message(directory, stock)

    def full(_descriptor: int, _length: int) -> None:
        raise OSError(28, "No space left on device")

    message.write(OTHER)
    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(OSError, match="No space left"):
        message.end()
    assert list(message.path.iterdir()) == []
    message.remove()
    assert spares(directory) == []


def test_a_file_that_goes_while_it_is_written_is_an_error(directory: Path, stock: Stock) -> None:
    pass_through(directory, stock)
    message = Message(directory, stock).write(OTHER)
    spares(directory)[0].unlink()
    with pytest.raises(FileNotFoundError):
        message.end()
    message.remove()


def test_no_descriptor_stays_open(directory: Path, stock: Stock) -> None:
    pass_through(directory, stock)
    before = len(list(Path("/proc/self/fd").iterdir()))
    pass_through(directory, stock)
    Message(directory, stock).write(OTHER).remove()
    pass_through(directory, stock)
    with spares(directory)[0].open("rb"):
        pass_through(directory, stock)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_who_comes_while_a_lease_is_tried_does_not_end_the_process(
    directory: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_through(directory, stock)
    (spare,) = spares(directory)
    real = fcntl.fcntl
    refused: list[int] = []

    def with_a_visitor(descriptor: int, command: int, argument: int) -> int:
        done: int = real(descriptor, command, argument)
        if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_WRLCK):
            with pytest.raises(BlockingIOError):
                os.open(spare, os.O_RDONLY | os.O_NONBLOCK)
            refused.append(descriptor)
        return done

    monkeypatch.setattr(fcntl, "fcntl", with_a_visitor)
    pass_through(directory, stock, OTHER)
    assert len(refused) == 1


def test_without_leases_files_are_new(directory: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    pass_through(directory, stock)
    monkeypatch.setattr(fcntl, "fcntl", fail)
    message = Message(directory, stock).write(OTHER)
    assert message.input.exists(), "begun in its own directory"
    assert spares(directory) == []
    message.remove()


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 9000), st.sampled_from(["remove", "hold", "map", "early", "link", "change", "unanswered"])
        ),
        max_size=15,
    )
)
def test_whatever_comes_each_message_is_its_own_and_who_holds_one_keeps_it(steps: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        directory = Path(path)
        stock = Stock(directory)
        held: list[tuple[Callable[[], bytes], Callable[[], None], bytes]] = []
        for number, (size, what) in enumerate(steps):
            content = bytes([ord("A") + number]) * size
            message = Message(directory, stock, f"mdefang-{number}").write(content)
            if what != "early":
                message.end()
                assert message.input.read_bytes() == content
                if what in ("hold", "map") and size:
                    hold = _held if what == "hold" else _mapped(mmap.MAP_SHARED)
                    held.append((*hold(message.input), content))
                elif what == "link":
                    (directory / f"copy-{number}").hardlink_to(message.input)
                elif what == "change":
                    message.input.write_bytes(b"changed")
                if what != "unanswered":
                    message.answer()
            message.remove()
            assert len(spares(directory)) <= MAX_FILES
        for number, (size, what) in enumerate(steps):
            if what == "link":
                assert (directory / f"copy-{number}").read_bytes() == bytes([ord("A") + number]) * size
        for read, close, content in held:
            assert read() == content
            close()
        stock.close()
        assert list(directory.glob("stock-*")) == []


def test_threads_never_share_a_file(directory: Path, stock: Stock) -> None:
    failures: list[str] = []
    begin = threading.Barrier(THREADS)

    def send(thread: int) -> None:
        begin.wait(WAIT_S)
        for number in range(MESSAGES_PER_THREAD):
            content = b"%d %d " % (thread, number) * (500 + 300 * ((thread + number) % 5))
            try:
                pass_through(directory, stock, content, f"mdefang-{thread}-{number}")
            except (AssertionError, OSError) as error:
                failures.append(f"{thread} {number}: {error!r}"[:300])

    threads = [threading.Thread(target=send, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert failures == []
    assert 0 < len(spares(directory)) <= MAX_FILES


def test_there_are_few_files_and_none_is_very_large(
    directory: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [Message(directory, stock, f"mdefang-{number}").write(LARGE).end().answer() for number in range(6)]
    for message in messages:
        message.remove()
    assert len(spares(directory)) == MAX_FILES
    stock.close()
    other = Stock(directory)
    monkeypatch.setattr(spool_stock, "MAX_FILE_BYTES", len(LARGE) - 1)
    pass_through(directory, other)
    assert spares(directory) == []
    pass_through(directory, other, OTHER)
    assert len(spares(directory)) == 1
    other.close()


def test_nothing_is_kept_on_a_disk_that_is_nearly_full(
    directory: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_stock, "_MIN_FREE_BYTES", 1 << 20)
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=255, f_frsize=4096))
    pass_through(directory, stock)
    assert spares(directory) == []
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=256, f_frsize=4096))
    pass_through(directory, stock)
    assert len(spares(directory)) == 1


def test_files_that_nobody_wants_go_after_a_while(
    directory: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    first, second = (Message(directory, stock, f"mdefang-{n}").write(LARGE).end().answer() for n in range(2))
    first.remove()
    now_s += MAX_IDLE_S
    second.remove()
    stock.sweep()
    assert len(spares(directory)) == 2
    now_s += 1
    stock.sweep()
    (left,) = spares(directory)
    assert left.stat().st_ino == pass_through(directory, stock, OTHER)
    now_s += MAX_IDLE_S + 1
    stock.sweep()
    assert spares(directory) == []


class FakeStop:
    """A signal to stop that comes when the stock is empty, or after some waiting in vain."""

    def __init__(self, directory: Path) -> None:
        self.looks: list[int] = []
        self._directory = directory

    def wait(self, timeout_s: float | None = None) -> bool:
        assert timeout_s is not None
        self.looks.append(len(spares(self._directory)))
        return self.looks[-1] == 0 or len(self.looks) == 10


def test_the_main_thread_sweeps_while_it_waits(directory: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    pass_through(directory, stock)
    monkeypatch.setattr(spool_stock, "MAX_IDLE_S", -1.0)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    stop: Any = FakeStop(directory)
    callbacks: Any = SimpleNamespace(stock=stock, in_work=set())
    libmilter: Any = SimpleNamespace(runs=lambda: True)
    listener._wait_for_stop(stop, callbacks, libmilter)
    assert stop.looks == [1, 0]


def test_the_end_leaves_nothing_and_nothing_comes_after(directory: Path, stock: Stock) -> None:
    pass_through(directory, stock)
    in_work = Message(directory, stock, "mdefang-Q2").write(LARGE)
    late = Message(directory, stock, "mdefang-Q3").write(LARGE).end().answer()
    stock.close()
    late.remove()
    with suppress(FileNotFoundError):
        in_work.end()
    in_work.remove()
    assert list(directory.iterdir()) == []


def test_what_a_killed_front_end_left_goes_and_what_a_running_one_has_stays(directory: Path, stock: Stock) -> None:
    pass_through(directory, stock)
    (ours,) = spares(directory)
    left = directory / "stock-0123abcd"
    left.mkdir(0o700)
    (left / "0").write_bytes(LARGE)
    (directory / "stock-of-wine").mkdir()
    (directory / "mdefang-Q9").mkdir()
    (directory / "stock-00000000").write_bytes(b"a file")
    (directory / "stock-11111111").symlink_to(directory / "mdefang-Q9")
    spool_stock.remove_left(directory)
    names = {path.name for path in directory.iterdir()}
    assert names == {"mdefang-Q9", "stock-00000000", "stock-11111111", "stock-of-wine", ours.parent.name}
    assert ours.exists()


def test_file_systems_that_are_not_known_to_fit_have_none(directory: Path) -> None:
    assert spool_stock.stock_in(directory) is not None
    assert spool_stock.stock_in(Path("/proc")) is None
    assert spool_stock.stock_in(directory / "none") is None


def test_a_directory_that_cannot_be_made_is_no_error(
    directory: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "urandom", lambda _count: b"\0\0\0\0")
    (directory / "stock-00000000").write_bytes(b"in the way")
    pass_through(directory, stock)
    assert spares(directory) == []
