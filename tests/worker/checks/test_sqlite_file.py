# SPDX-License-Identifier: GPL-3.0-or-later
"""A SQLite file that several workers share: two stores on one path, forks, and many that open it at once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from defang_worker.checks.budget import Deadline
from defang_worker.checks.sqlite_file import SqliteFile, transaction

LIMIT_S = 60
SCHEMA = "CREATE TABLE IF NOT EXISTS notes (note TEXT PRIMARY KEY)"

WORKER = """
import os, sys
from tests.worker.checks.test_sqlite_file import SCHEMA, note
from defang_worker.checks.sqlite_file import SqliteFile
file = SqliteFile(sys.argv[1], SCHEMA)
"""
COME_AND_GO = (
    WORKER
    + """
note(file, sys.argv[2])
file.close()
"""
)
# As of a filter that uses a store while it is loaded: the template has it open, forks, and is replaced.
FORK = (
    WORKER
    + """
note(file, "template")
if os.fork():
    os._exit(0)
note(file, "worker")
print("ready", flush=True)
sys.stdin.readline()
note(file, "worker again")
print("ready", flush=True)
sys.stdin.readline()
file.close()
"""
)
# They try to open the file at the same moment.
OPEN_AT_ONCE = (
    WORKER
    + """
print("ready", flush=True)
sys.stdin.readline()
for number in range(3):
    note(file, f"{sys.argv[2]} {number}")
file.close()
"""
)


def soon() -> Deadline:
    return Deadline.after(LIMIT_S)


def note(file: SqliteFile, text: str) -> None:
    with file.use(soon()) as connection, transaction(connection):
        connection.execute("INSERT INTO notes VALUES (?)", (text,))


def notes(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {row[0] for row in connection.execute("SELECT note FROM notes")}
    finally:
        connection.close()


def process(script: str, path: Path, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", script, str(path), *words]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def come_and_go(path: Path, text: str) -> None:
    worker = process(COME_AND_GO, path, text)
    worker.communicate(timeout=LIMIT_S)
    assert worker.returncode == 0


def ready(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"


def go_on(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


@pytest.fixture
def path(spool: Path) -> Path:
    return spool / "notes.sqlite"


def test_two_stores_on_one_path_take_no_locks_from_each_other(path: Path) -> None:
    one, other = SqliteFile(str(path), SCHEMA), SqliteFile(str(path), SCHEMA)
    note(one, "first")
    with other.use(soon()):
        pass
    come_and_go(path, "second")  # the last to close a file takes its log away: it is not to believe that it is
    note(one, "third")
    come_and_go(path, "fourth")
    assert notes(path) == {"first", "second", "third", "fourth"}
    one.close()
    other.close()
    assert notes(path) == {"first", "second", "third", "fourth"}


def test_worker_has_locks_of_its_own_on_what_its_template_had_open(path: Path) -> None:
    worker = process(FORK, path)
    ready(worker)
    come_and_go(path, "other")
    go_on(worker)
    ready(worker)
    come_and_go(path, "another")
    worker.communicate("go\n", timeout=LIMIT_S)
    assert notes(path) == {"template", "worker", "other", "worker again", "another"}


def test_file_may_be_used_on_both_sides_of_a_fork(path: Path) -> None:
    file = SqliteFile(str(path), SCHEMA)
    note(file, "before")
    child = os.fork()
    if child == 0:
        status = os.EX_SOFTWARE
        try:
            note(file, "child")
            file.close()
            status = os.EX_OK
        finally:
            os._exit(status)
    note(file, "parent")
    assert os.waitpid(child, 0)[1] == 0
    file.close()
    assert notes(path) == {"before", "child", "parent"}


def test_workers_that_open_a_new_file_at_once_wait_for_one_another(path: Path) -> None:
    workers = [process(OPEN_AT_ONCE, path, str(number)) for number in range(6)]
    for worker in workers:
        ready(worker)
    for worker in workers:
        go_on(worker)
    for worker in workers:
        worker.communicate(timeout=LIMIT_S)
    assert len(notes(path)) == 6 * 3


def test_new_file_that_another_makes_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE here (first INTEGER)")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            other.execute("COMMIT")

    monkeypatch.setattr("time.sleep", pause)
    file = SqliteFile(str(path), SCHEMA)
    note(file, "one")
    file.close()
    other.close()
    assert len(pauses) == 2
    assert notes(path) == {"one"}


def test_new_file_that_is_never_free_is_given_up_at_the_deadline(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    file = SqliteFile(str(path), SCHEMA)
    with pytest.raises((sqlite3.OperationalError, TimeoutError)), file.use(Deadline.after(0.1)):
        pytest.fail("it was not free")
    other.execute("ROLLBACK")
    other.close()
    note(file, "one")
    file.close()


def test_file_that_a_link_leads_to_is_made_for_its_owner_alone(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    file = SqliteFile(str(link), SCHEMA)
    note(file, "one")
    file.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
