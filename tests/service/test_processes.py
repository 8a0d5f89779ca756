# SPDX-License-Identifier: GPL-3.0-or-later
"""The process behind a lock file is found, held and ended, with real processes of a few lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from defang_service import processes

LONG_S = 60.0
SHORT_S = 0.2

# Locks, says so, and lives until it is told to end; `deaf` does not hear TERM.
HOLDER = """
import fcntl, os, signal, sys
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.lockf(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
while True: signal.pause()
"""


@contextmanager
def _holder(lock: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock, *words], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_the_holder_of_a_lock_is_known_and_nobody_once_it_has_ended(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert processes.lock_holder(lock) is None
    with _holder(lock) as holder:
        assert processes.lock_holder(lock) == holder.pid
    assert lock.exists()
    assert processes.lock_holder(lock) is None


def test_a_number_in_the_file_is_not_believed(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"{os.getpid()}\n")
    with processes.holding(lock) as running:
        assert running is None


def test_a_link_is_not_followed_and_a_second_name_refused(tmp_path: Path) -> None:
    real, link, second = tmp_path / "real", tmp_path / "link", tmp_path / "second"
    real.touch()
    link.symlink_to(real)
    second.hardlink_to(real)
    for path in (link, second):
        with pytest.raises(processes.Unclear, match=str(path)):
            processes.lock_holder(path)


def test_a_process_ends_by_term(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with _holder(lock) as holder, processes.holding(lock) as running:
        assert running is not None
        assert not running.wait_end(0)
        assert processes.end(running, term_limit_s=LONG_S, kill_limit_s=LONG_S)
        assert holder.wait(LONG_S) == -signal.SIGTERM


def test_one_that_does_not_hear_is_killed_after_its_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with _holder(lock, "deaf") as holder, processes.holding(lock) as running:
        assert running is not None
        assert processes.end(running, term_limit_s=SHORT_S, kill_limit_s=LONG_S)
        assert holder.wait(LONG_S) == -signal.SIGKILL


def test_a_signal_to_one_that_has_ended_reaches_nobody(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with _holder(lock) as holder, processes.holding(lock) as running:
        assert running is not None
        holder.kill()
        holder.wait(LONG_S)
        running.send(signal.SIGTERM)
        assert running.wait_end(LONG_S)


def test_stray_workers_are_told_by_name_user_and_directory(tmp_path: Path) -> None:
    spool, other = tmp_path / "spool", tmp_path / "other"
    program = tmp_path / "some-worker"
    program.write_text(f"#!{sys.executable}\nprint('up', flush=True)\nimport signal\nwhile True: signal.pause()\n")
    program.chmod(0o755)
    started = []
    for directory in (spool, other):
        directory.mkdir()
        child = subprocess.Popen([program, "-server"], cwd=directory, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        started.append(child)
    inside, outside = started
    try:
        found = processes.stray_workers("/anywhere/some-worker", uid=os.geteuid(), spool=spool)
        assert found == [inside.pid]
        assert processes.stray_workers("some-worker", uid=os.geteuid() + 1, spool=spool) == []
        assert processes.stray_workers("worker", uid=os.geteuid(), spool=spool) == []
        assert processes.end_all([*found, _ended()], term_limit_s=LONG_S, kill_limit_s=LONG_S) == []
        assert inside.wait(LONG_S) == -signal.SIGTERM
        assert outside.poll() is None
    finally:
        for child in started:
            child.kill()
            child.communicate()


def _ended() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid
