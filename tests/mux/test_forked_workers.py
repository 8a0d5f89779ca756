# SPDX-License-Identifier: GPL-3.0-or-later
"""Multiplexor and Defang's own worker: what forked workers find, and a template that is killed, stopped or replaced."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from defang_common.wire import percent
from tests.support.daemons import private_home
from tests.support.mux import LONG_LIMIT_S, USER, Mux, running_mux, write_program
from tests.support.process import descendants, is_dead, wait_until

WORKER = f"""#!{sys.executable}
import sys
from defang_worker.__main__ import main
sys.exit(main())
"""

# Answers with what it finds, and counts how often the file was loaded.
FILTER = """
import gc, json, os, random, signal, sys
with open(os.path.join(os.path.dirname(__file__), "loaded"), "a") as file:
    file.write("x")
loaded_in = os.getpid()
started_in = []

def on_start():
    started_in.append(os.getpid())

def filter_unknown_command(command, words):
    if command == "orphan":
        if os.fork() == 0:
            if os.fork() == 0:
                while os.getppid() == int(words[0]):
                    pass
            os._exit(0)
        os.wait()
        return ""
    return json.dumps({
        "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgrp(), "session": os.getsid(0),
        "open": sorted(int(name) for name in os.listdir("/dev/fd"))[:-1], "started_in": started_in,
        "collects": gc.isenabled(), "loaded_in": loaded_in, "random": random.random(), "cwd": os.getcwd(),
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "ignored": [line.split()[1] for line in open("/proc/self/status") if line.startswith("SigIgn")],
        "mode": open("/proc/self/cmdline").read().rstrip("\\0").rpartition("\\0")[2],
        "umask": open("/proc/self/status").read().split("Umask:")[1].split()[0],
    }) + VERSION

VERSION = ""
"""


@pytest.fixture
def spool(spool: Path) -> Path:
    """The spool, with the program's user for owner."""
    if USER:
        account = pwd.getpwnam(USER)
        os.chown(spool, account.pw_uid, account.pw_gid)
    return spool


@contextmanager
def running(spool: Path, *options: str, text: str = FILTER, filter_fails: bool = False) -> Iterator[Mux]:
    (spool / "filter.py").write_text(text)
    worker = write_program(spool / "worker", WORKER)
    with running_mux(
        spool, "-F", str(spool / "filter.py"), "-l", *options, worker=worker, filter_fails=filter_fails
    ) as mux:
        yield mux


def facts(mux: Mux) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer(mux))
    return found


def answer(mux: Mux) -> str:
    return percent.decode(mux.ask("facts").rstrip("\n").encode()).decode().removeprefix("ok ")


def is_its_child(mux: Mux) -> bool:
    return facts(mux)["parent"] == mux.program.pid


def template_of(mux: Mux) -> int:
    """The template's process: the child of the multiplexor that has loaded the filter."""
    pid = facts(mux)["loaded_in"]
    assert isinstance(pid, int)
    return pid


@pytest.mark.parametrize("tags", [False, True])
def test_forked_worker_finds_what_one_that_was_executed_finds(spool: Path, tags: bool) -> None:
    found = []
    for start in ("fork", "exec"):
        with running(spool, "--start", start, *(["-Z"] if tags else [])) as mux:
            # A moment after it begins to serve: until the process between has ended.
            wait_until(partial(is_its_child, mux), "the multiplexor is its parent")
            one = facts(mux)
            assert one["group"] == one["pid"]
            assert one["started_in"] == [one["pid"]]
            assert (one["loaded_in"] == one["pid"]) == (start == "exec")
            found.append(
                {name: one[name] for name in ("open", "session", "cwd", "mask", "ignored", "umask", "collects", "mode")}
            )
            found[-1]["session"] = one["session"] == mux.program.pid
    assert found[0] == found[1]


def test_filter_is_loaded_once_for_all_workers_and_each_draws_its_own_random_numbers(spool: Path) -> None:
    with running(spool, "-r", "1", "-q", "5") as mux:
        ten = [facts(mux) for _ in range(10)]
        assert len({one["pid"] for one in ten}) == 10
        assert len({one["random"] for one in ten}) == 10
        assert (spool / "loaded").read_text() == "x"


def test_worker_ends_with_its_input_and_template_with_the_multiplexor(spool: Path) -> None:
    with running(spool) as mux:
        pids = [template_of(mux), facts(mux)["pid"]]
        # What stood between template and worker while that was forked may still be there.
        wait_until(lambda: len(descendants(mux.program.pid)) == 2, "there are a template and a worker")
    assert all(isinstance(pid, int) and is_dead(pid) for pid in pids)


def test_killed_template_is_replaced_and_its_workers_go_on(spool: Path) -> None:
    with running(spool, "-x", "2") as mux:
        before = facts(mux)
        os.kill(template_of(mux), signal.SIGKILL)
        mux.program.wait_log("Template .* has ended")
        assert facts(mux)["pid"] == before["pid"]
        os.kill(int(str(before["pid"])), signal.SIGKILL)
        mux.program.wait_log("WORKER DIED UNEXPECTEDLY")
        after = facts(mux)
        assert after["loaded_in"] not in (before["loaded_in"], after["pid"])


@pytest.mark.slow
def test_stopped_template_is_replaced_and_the_request_waits_for_that(spool: Path) -> None:
    with running(spool, "-r", "1") as mux:
        before = template_of(mux)
        os.kill(before, signal.SIGSTOP)
        asking = mux.ask_later("facts")
        assert asking.wait().startswith("ok ")
        assert f'"loaded_in": {before},' not in percent.decode(asking.reply.rstrip("\n").encode()).decode()
        wait_until(lambda: is_dead(before), "the stopped template is gone")


def test_multiplexor_that_is_killed_leaves_no_process(spool: Path) -> None:
    (spool / "filter.py").write_text(FILTER)
    mux = Mux(spool, "-F", str(spool / "filter.py"), worker=write_program(spool / "worker", WORKER))
    pids = [template_of(mux), int(str(facts(mux)["pid"]))]
    mux.program.kill()
    wait_until(lambda: all(map(is_dead, pids)), "template and worker have ended")


def test_orphans_of_workers_are_reaped(spool: Path) -> None:
    with running(spool) as mux:
        pid = facts(mux)["pid"]
        assert mux.ask(f"orphan {pid}").startswith("ok")
        # The worker's grandchild becomes the multiplexor's child, and ends when it sees that.
        wait_until(lambda: len(descendants(mux.program.pid)) == 2, "template and worker are all that is left")


def test_filter_with_a_thread_is_served_by_programs(spool: Path) -> None:
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(9e9,), daemon=True).start()\n" + FILTER
    with running(spool, text=text) as mux:
        one = facts(mux)
        assert one["loaded_in"] == one["pid"]
        mux.program.wait_log("cannot be forked: it has started threads: Thread-1")


def test_reread_takes_the_new_filter_or_tells_what_is_wrong_with_it(spool: Path) -> None:
    with running(spool, filter_fails=True) as mux:
        assert answer(mux).endswith("}")
        path = spool / "filter.py"
        path.write_text(FILTER + "\nVERSION = undefined_name\n")
        reply = mux.ask("reread")
        line = FILTER.count("\n") + 2
        assert reply.startswith(f"error: {path}:{line}: NameError: name 'undefined_name' is not defined\nTraceback ")
        mux.program.wait_log(re.escape(f"nothing has changed: {path}:{line}: NameError"))
        assert answer(mux).endswith("}")
        path.write_text(FILTER + "\nVERSION = 'two'\n")
        assert mux.ask("reread") == "Forced reread of filter rules\n"
        assert answer(mux).endswith("}two")
        path.write_text("def\n")
        mux.program.send(signal.SIGHUP)
        mux.program.wait_log("nothing has changed: .*SyntaxError")
        assert answer(mux).endswith("}two")


def test_broken_filter_at_the_start_is_told_and_served_when_it_is_mended(spool: Path) -> None:
    with running(spool, "-q", "5", text="import no_such_module\n", filter_fails=True) as mux:
        mux.program.wait_log(r"Filter not loaded: .*filter\.py:1: ModuleNotFoundError")
        (spool / "filter.py").write_text(FILTER)
        assert mux.ask("reread") == "Forced reread of filter rules\n"
        assert facts(mux)["loaded_in"] != facts(mux)["pid"]


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "exec"])
def test_no_request_is_refused_while_the_filter_is_reread_again_and_again(spool: Path, start: str) -> None:
    """As many clients as workers and no queue: whatever a reread takes away for a moment, somebody wants."""
    rereads = 20 if start == "fork" else 5
    with running(spool, "-x", "2", "-m", "2", "-w", "1", "--start", start, filter_fails=True) as mux:
        wait_until(lambda: mux.ask("free") == "2\n", "two workers")
        stop = threading.Event()
        replies: list[str] = []

        def ask_on() -> None:
            while not stop.is_set():
                replies.append(mux.ask("facts", LONG_LIMIT_S))

        clients = [threading.Thread(target=ask_on) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            for number in range(rereads):
                is_broken = start == "fork" and number == 7
                (spool / "filter.py").write_text("def\n" if is_broken else f"{FILTER}\nVERSION = '{number}'\n")
                wanted = "error: " if is_broken else "Forced reread of filter rules\n"
                assert mux.ask("reread", LONG_LIMIT_S).startswith(wanted)
                seen = len(replies)
                wait_until(lambda seen=seen: len(replies) > seen + 2, "clients are served")  # type: ignore[misc]
        finally:
            stop.set()
            for client in clients:
                client.join(LONG_LIMIT_S)
        assert [reply for reply in replies if not reply.startswith("ok ")] == []
        assert answer(mux).endswith(f"}}{rereads - 1}")


@pytest.mark.parametrize("start", ["fork", "exec"])
def test_limits_hold_in_workers_and_are_told(spool: Path, start: str) -> None:
    text = FILTER.replace(
        '"group": os.getpgrp()',
        '"limits": [resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, '
        'resource.RLIMIT_CORE)], "new": open("/proc/self/status").read().split("NoNewPrivs:")[1].split()[0], '
        '"group": os.getpgrp()',
    ).replace("import gc,", "import resource, gc,")
    options = ("--start", start, "--open-files-limit", "64", "--file-size-limit", "1000", "--no-new-privileges")
    with running(spool, *options, text=text) as mux:
        # They are set from outside, a moment after the worker begins.
        wait_until(lambda: facts(mux)["limits"] == [[64, 64], [1_024_000, 1_024_000], [0, 0]], "limits are set")
        assert facts(mux)["new"] == "1"
        told = dict(line.split(" ", 1) for line in mux.ask("protections").splitlines())
    assert told == {
        "core-dumps": "none",
        "new-privileges": "none",
        "memory-bytes": "no limit",
        "resident-bytes": "no limit",
        "open-files": "at most 64",
        "file-bytes": "at most 1024000",
        "cpu-seconds": "no limit",
        "landlock": "not wanted",
        "system-calls": "all allowed",
    }


# Tries what it may not do, and says how that ended.
CONFINED = """
import ctypes, json, os, resource
def outcome(path):
    try:
        with open(path, "w"):
            return 0
    except OSError as error:
        return error.errno

def filter_unknown_command(command, words):
    if command == "burn":
        while True:
            pass
    libc = ctypes.CDLL(None, use_errno=True)
    spool, named, beside = words
    return json.dumps({
        "spool": outcome(spool + "/new"), "named": outcome(named + "/new"), "beside": outcome(beside + "/new"),
        "unshare": (libc.unshare(0x10000000), ctypes.get_errno()),
        "cpu": resource.getrlimit(resource.RLIMIT_CPU)[0],
    })
"""


@pytest.mark.parametrize("start", ["fork", "exec"])
def test_confined_workers_are_kept_to_their_directories_calls_and_cpu_time(
    spool: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The directory of temporary files may be written to.
    monkeypatch.setenv("TMPDIR", str(spool))
    with private_home("confined-") as home:
        named, beside = home / "named", home / "beside"
        for directory in (named, beside):
            directory.mkdir()
            directory.chmod(0o777)
        options = ("--landlock", "--writable-dirs", str(named), "--deny-system-calls", "--cpu-limit", "2")
        with running(spool, "--start", start, *options, text=CONFINED, filter_fails=True) as mux:
            reply = mux.ask(f"facts {spool} {named} {beside}")
            found = json.loads(percent.decode(reply.rstrip("\n").encode()).decode().removeprefix("ok "))
            told = dict(line.split(" ", 1) for line in mux.ask("protections").splitlines())
            # The worker is lost, the client hears of it, and the log has the place.
            assert mux.ask("burn") == "ERR No response from worker\n"
            wait_until(lambda: "in filter_unknown_command" in mux.program.log_text(), "the stack is in the log")
    assert (found["spool"], found["named"], found["beside"]) == (0, 0, errno.EACCES)
    assert found["unshare"] == [-1, errno.EPERM]
    assert 2 < found["cpu"] < 60
    assert told["new-privileges"] == "none"
    assert told["cpu-seconds"] == "at most 2 a request"
    assert told["landlock"].endswith(f"writing to {spool}:{named} and to what the filter names")
    assert told["system-calls"] == "those that no filter needs are denied"


@pytest.mark.parametrize("start", ["fork", "exec"])
def test_directory_that_is_missing_is_told_once_and_not_by_each_worker(spool: Path, start: str) -> None:
    text = "from defang_worker import Settings\nsettings = Settings(quarantine_dir='/nowhere/quarantine')\n" + FILTER
    with running(spool, "--start", start, "--landlock", "-m", "3", "-x", "3", "-w", "0", text=text) as mux:
        wait_until(lambda: mux.state() == "III", "three workers")
        for _ in range(3):
            assert mux.ask("ping") == "PONG\n"
        told = "Landlock: /nowhere/quarantine is not there"
        mux.program.wait_log(told)
        assert mux.ask("reread") == "Forced reread of filter rules\n"
        wait_until(lambda: mux.state() == "III", "three workers with the new filter")
        for _ in range(3):
            assert mux.ask("ping") == "PONG\n"
        wait_until(lambda: mux.program.log_text().count(told) == 2, "it is told of the new filter, too")
    # All that they have said is in the log once they have ended.
    assert mux.program.log_text().count(told) == 2
