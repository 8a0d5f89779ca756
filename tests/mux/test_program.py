# SPDX-License-Identifier: GPL-3.0-or-later
"""The program itself, with workers of a few lines: what only real processes can show.

As which user: tests/support/mux.py.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.mux import AS_USER, COMMAND_LIMIT_S, USER, Mux, ask, running_mux, write_program
from tests.support.process import Program, accepts_connections, descendants, is_dead, listens, wait_until
from tests.support.service_manager import ServiceManager, in_environment

# Answers as its request says: at once, after `go` exists in the spool, never, twice, not at all.
WORKER = """#!/usr/bin/perl
use strict; $| = 1;
print STDERR "worker starts\\n";
while (defined(my $line = <STDIN>)) {
    chomp $line;
    if ($line =~ /^scan (\\S+) die/) { print STDERR "cause of death\\n"; exit 3 }
    elsif ($line =~ /^scan (\\S+) wait/) { while (!-e "go") { select undef, undef, undef, 0.02 } print "ok\\n" }
    elsif ($line =~ /^scan (\\S+) half/) { print "ok"; exit 0 }
    elsif ($line =~ /^scan/) { print "ok\\n" }
    elsif ($line =~ /^twice/) { print "ok 1\\nok 0\\n" }
    elsif ($line =~ /^long/) { print "x" x 5000, "\\n" }
    elsif ($line =~ /^stubborn/) { $SIG{TERM} = 'IGNORE'; sleep 1 while 1 }
    elsif ($line =~ /^pid/) { print "$$\\n" }
    else { print "[$line]\\n" }
}
"""


def start(spool: Path, *options: str) -> Mux:
    return Mux(spool, *options, worker=write_program(spool / "worker.pl", WORKER))


@contextmanager
def running(spool: Path, *options: str, worker: Path | None = None) -> Iterator[Mux]:
    with running_mux(spool, *options, worker=worker or write_program(spool / "worker.pl", WORKER)) as mux:
        yield mux


@pytest.fixture
def spool(spool: Path) -> Path:
    """The spool, with the program's user for owner."""
    if USER:
        account = pwd.getpwnam(USER)
        os.chown(spool, account.pw_uid, account.pw_gid)
    return spool


def test_requests_are_answered_by_workers_and_commands_by_itself(spool: Path) -> None:
    with running(spool, "-x", "3") as mux:
        assert mux.ask("scan Q1 /d") == "ok\n"
        assert mux.ask("recipok <a@b>  c") == "[recipok <a@b>  c]\n"
        assert mux.ask("free") == "3\n"
        assert re.fullmatch(r"ISS 1 1 0 0 \d+\n", mux.ask("status"))
        assert mux.ask("rawstatus") == "[rawstatus]\n"


def test_worker_that_dies_is_an_error_with_its_cause_in_the_log(spool: Path) -> None:
    with running(spool) as mux:
        assert mux.ask("scan Q1 die") == "ERR No response from worker\n"
        mux.program.wait_log(r"Q1: Reap: worker 0 \(pid \d+\) exited with status 3 \(WORKER DIED UNEXPECTEDLY\)")
        mux.program.wait_log("Q1: Worker 0 stderr: cause of death")
        assert mux.ask("scan Q3 /d") == "ok\n"
        assert mux.ask("scan Q2 half") == "ERR No response from worker\n"
        assert mux.ask("scan Q3 /d") == "ok\n"


def test_log_that_nobody_reads_stops_no_request_and_no_stop(spool: Path) -> None:
    chatterbox = 'while (<STDIN>) { print STDERR "x" x 1000, "\\n" for 1..50; print "ok\\n" }'
    worker = write_program(spool / "worker.pl", f"#!/usr/bin/perl\n$| = 1;\n{chatterbox}\n")
    words = ["-z", spool, "-s", spool / "mx.sock", "-f", worker, "-D", "-l"]
    argv = [sys.executable, "-m", "defang_mux", *AS_USER, *map(str, words)]
    nobody_reads, log = os.pipe()
    try:
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        ) as process:  # fmt: skip
            wait_until(lambda: accepts_connections(str(spool / "mx.sock")), "the multiplexor's socket")
            # Several times what a pipe takes.
            assert {ask(spool / "mx.sock", f"scan Q{number} /d") for number in range(10)} == {"ok\n"}
            assert ask(spool / "mx.sock", "msgs") == "10\n"
            process.terminate()
            assert process.wait(COMMAND_LIMIT_S) == 0
    finally:
        os.close(nobody_reads)
        os.close(log)


@pytest.mark.parametrize("takes_term", [True, False])
def test_what_a_worker_has_left_in_a_session_of_its_own_ends_with_the_multiplexor(
    spool: Path, takes_term: bool
) -> None:
    trap = "" if takes_term else "trap '' TERM"
    write_program(spool / "left.sh", f"#!/bin/sh\n{trap}\nsetsid sleep 1000 &\nsleep 1000\n")
    # Started by a process that has ended, so that its parent is the multiplexor.
    worker = f"""#!/bin/sh
while read line; do
    (setsid {spool}/left.sh </dev/null >/dev/null 2>&1 & echo $! >{spool}/left)
    echo ok
done
"""
    with running(spool, "-x", "1", worker=write_program(spool / "worker", worker)) as mux:
        assert mux.ask("scan Q1 /d") == "ok\n"
        pid = int((spool / "left").read_text())
        wait_until(lambda: len(descendants(pid)) == 2, "what it starts")
        left_behind = [pid, *descendants(pid)]
    assert all(is_dead(pid) for pid in left_behind)


def test_worker_killed_between_requests_costs_no_request(spool: Path) -> None:
    with running(spool, "-m", "2", "-x", "2", "-w", "1") as mux:
        wait_until(lambda: mux.state() == "II", "two idle workers")
        for _ in range(10):
            pid = int(mux.ask("pid"))
            os.kill(pid, signal.SIGKILL)
            wait_until(partial(is_dead, pid), "the worker's death")
            assert mux.ask("scan Q1 /d") == "ok\n"


def test_garbled_and_over_long_answers_cost_the_worker_its_life(spool: Path) -> None:
    with running(spool, "-x", "1", "-q", "5") as mux:
        first = mux.ask("pid")
        assert mux.ask("twice") == "ok 1\n"
        second = mux.ask("pid")
        assert mux.ask("long") == "ERR Answer of worker is too long\n"
        third = mux.ask("pid")
        assert len({first, second, third}) == 3
        mux.program.wait_log("Worker 0: Garbled: wrote more than an answer: ok 0\n")


def test_queue_is_served_in_order_and_full_is_refused(spool: Path) -> None:
    with running(spool, "-x", "1", "-q", "2") as mux:
        asking = [mux.ask_later("scan Q0 wait")]
        wait_until(lambda: mux.state() == "B", "a busy worker")
        for number in (1, 2):
            asking.append(mux.ask_later(f"scan Q{number} /d"))
            mux.wait_queued(number)
        assert mux.ask("scan Q3 /d") == "error: No free workers\n"
        assert mux.ask("free") == "0\n"
        mux.go()
        assert [request.wait() for request in asking] == ["ok\n"] * 3


def test_reread_and_its_signals_replace_workers(spool: Path) -> None:
    with running(spool, "-x", "1", "-q", "5") as mux:
        pids = [mux.ask("pid")]
        assert mux.ask("reread") == "Forced reread of filter rules\n"
        pids.append(mux.ask("pid"))
        for number in (signal.SIGINT, signal.SIGHUP):
            mux.program.send(number)
            wait_until(lambda: mux.ask("pid") != pids[-1], "another worker")
            pids.append(mux.ask("pid"))
        assert len(set(pids)) == 4


def test_recycling_replaces_a_worker_after_its_requests(spool: Path) -> None:
    with running(spool, "-x", "1", "-q", "5", "-r", "3") as mux:
        pids = [mux.ask("pid") for _ in range(9)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]


def test_filter_that_does_not_load_is_named_once_and_requests_are_refused(spool: Path) -> None:
    broken = write_program(
        spool / "broken.pl", "#!/usr/bin/perl\nprint STDERR qq(syntax error in line 3\\n); exit 2;\n"
    )
    with running(spool, "-x", "1", "-w", "1", worker=broken) as mux:
        replies = {mux.ask(f"scan Q{number} /d") for number in range(20)}
        # While a worker that has just died is not yet reaped, it holds its slot, and nobody is free.
        refusals = {"ERR No response from worker\n", "error: Unable to activate worker\n", "error: No free workers\n"}
        assert replies <= refusals
        wait_until(lambda: mux.ask("scan Q /d") == "error: Unable to activate worker\n", "starts that are delayed")
        log = mux.program.wait_log("Workers die before their first answer, check the filter: syntax error in line 3")
        assert log.string.count("check the filter") == 1
        write_program(broken, WORKER)
        assert mux.ask("reread") == "Forced reread of filter rules\n"
        wait_until(lambda: mux.ask("scan Q /d") == "ok\n", "a worker with the mended filter")


def test_stop_lets_the_request_in_work_finish_and_refuses_the_queue(spool: Path) -> None:
    mux = start(spool, "-x", "1", "-q", "5")
    working = mux.ask_later("scan Q0 wait")
    wait_until(lambda: mux.state() == "B", "a busy worker")
    waiting = mux.ask_later("scan Q1 /d")
    mux.wait_queued(1)
    mux.program.send(signal.SIGTERM)
    assert waiting.wait() == "error: Multiplexor is stopping\n"
    assert not mux.path.exists()
    mux.go()
    assert working.wait() == "ok\n"
    assert mux.program.stop() == 0


def test_metrics_are_served_on_request(spool: Path) -> None:
    with running(spool, "--metrics", f"unix:{spool}/metrics.sock") as mux:
        assert mux.ask("scan Q1 /d") == "ok\n"
        reply = ask(spool / "metrics.sock", "GET /metrics HTTP/1.0\r\n\r")
        assert reply.startswith("HTTP/1.1 200 OK\r\n")
        assert 'defang_requests_total{kind="scan",outcome="answered"} 1.0\n' in reply
        assert 'defang_request_seconds_count{kind="scan"} 1.0\n' in reply
    assert not (spool / "metrics.sock").exists()


def test_service_manager_hears_of_start_reload_and_stop(spool: Path) -> None:
    with ServiceManager(spool, watchdog_s=1) as manager:
        with in_environment(manager):
            mux = Mux(spool, worker=write_program(spool / "worker.pl", WORKER))
        manager.wait_for("READY=1")
        manager.wait_for("WATCHDOG=1")
        mux.ask("reread")
        manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
        assert mux.program.stop() == 0
        manager.wait_for("STOPPING=1")


def test_second_term_and_child_signals_do_not_cut_the_stop_short(spool: Path) -> None:
    mux = start(spool, "-x", "1")
    working = mux.ask_later("scan Q0 wait")
    wait_until(lambda: mux.state() == "B", "a busy worker")
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        mux.program.send(number)
    mux.program.wait_log("stopping")
    mux.go()
    assert working.wait() == "ok\n"
    assert mux.program.stop() == 0


def test_signals_that_the_starter_had_blocked_are_heard(spool: Path) -> None:
    heard = {signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    try:
        mux = start(spool, "-x", "1", "-l")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert mux.ask("scan Q0 die") == "ERR No response from worker\n"
    mux.program.wait_log("Reap: worker 0")
    mux.program.send(signal.SIGHUP)
    mux.program.wait_log("Rereading")
    assert mux.program.stop() == 0


def test_second_multiplexor_on_the_socket_is_refused_and_harms_nothing(spool: Path) -> None:
    with running(spool) as mux:
        second = subprocess.run(
            [sys.executable, "-m", "defang_mux", *AS_USER, "-z", spool, "-s", mux.path, "-f", "/bin/true", "-D"],
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        assert second.returncode == 1
        assert "another program serves" in second.stderr
        assert mux.ask("free") == "2\n"


def test_start_returns_when_requests_are_accepted_and_removes_a_stale_socket(spool: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(os.fspath(spool / "mx.sock"))
    os.chown(spool / "mx.sock", spool.stat().st_uid, -1)
    worker = write_program(spool / "worker.pl", WORKER)
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "defang_mux",
        *AS_USER,
        "-z",
        spool,
        "-s",
        spool / "mx.sock",
        "-f",
        worker,
    ]
    started = subprocess.run(
        [*words, "-p", spool / "pid"], capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False
    )
    assert started.returncode == 0
    assert [line for line in started.stderr.splitlines() if "no system logger" not in line] == []
    pid = int((spool / "pid").read_text())
    try:
        assert ask(spool / "mx.sock", "scan Q1 /d") == "ok\n"
        workers = descendants(pid)
        assert len(workers) == 1
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not (spool / "pid").exists(), "the pid file is removed")
    wait_until(lambda: all(map(is_dead, (pid, *workers))), "all are gone")
    assert not (spool / "mx.sock").exists()


def test_socket_for_status_answers_questions_only(spool: Path) -> None:
    with running(spool, "-a", f"unix:{spool}/all.sock") as mux:
        public = spool / "all.sock"
        wait_until(lambda: listens(public), "questions are let in")
        assert ask(public, "free") == "2\n"
        assert "unprivileged" in ask(public, "scan Q1 /d")
        assert "unprivileged" in ask(public, "reread")
        assert mux.ask("msgs") == "0\n"
    assert not public.exists()


def test_a_file_says_what_the_options_say_and_is_printed(spool: Path) -> None:
    config = spool / "defang.toml"
    config.write_text(f'[mux]\nmax-workers = 3\nqueue-size = 7\nunprivileged-socket = "{spool}/open.sock"\n')
    with running(spool, "--config", str(config), "-q", "5") as mux:
        assert mux.ask("status").split()[3:4] == ["5"]
        assert mux.ask("free") == "3\n"
        assert ask(spool / "open.sock", "free") == "3\n"
        assert mux.ask("reread") == "Forced reread of filter rules\n"
        text = config.read_text()
        config.write_text(f"{text}verbose = true\n")
        note = f"{config} has changed since the start, and counts from the next one on: verbose\n"
        assert mux.ask("reread") == f"Forced reread of filter rules\nnote: {note}"
        mux.program.wait_log(re.escape(note))
    done = subprocess.run(
        [sys.executable, "-m", "defang_mux", "--config", config, "--print-config"],
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=True,
    )
    assert "\nqueue-size = 7\n" in done.stdout
    assert done.stderr == ""


def test_wrong_command_lines_exit_1_with_a_reason(spool: Path) -> None:
    for words, reason in (
        (
            ["--no-such"],
            "usage: defang-mux [-U USER] [-F FILTER] [options]\ndefang-mux: option --no-such not recognized\n",
        ),
        (["-f", "/no/such/worker"], "not there"),
        (["--config", "/no/such/file"], "defang-mux: /no/such/file: No such file or directory\n"),
        (["-f", "/bin/true", "-z", "/no/such/spool"], "/no/such/spool"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "defang_mux", *AS_USER, *words],
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        assert done.returncode == 1
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [("-D",), ()], ids=["foreground", "detached"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.py", "filter {}: No such file or directory"),
        ("private.py", "filter {}: Permission denied"),
        ("directory", "filter {} is a directory"),
    ],
)
def test_a_filter_that_cannot_be_read_fails_the_start(
    spool: Path, options: tuple[str, ...], name: str, reason: str
) -> None:
    (spool / "private.py").touch(mode=0)
    (spool / "directory").mkdir(mode=0o755)
    done = subprocess.run(
        [sys.executable, "-m", "defang_mux", *AS_USER, "-z", spool, "-f", "/bin/true", "-F", spool / name, *options],
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"defang-mux: {reason.format(spool / name)}\n")
    assert not (spool / "mimedefang-multiplexor.sock").exists()


def test_nothing_is_left_open_after_many_requests_and_clients_that_go_away(spool: Path) -> None:
    with running(spool, "-m", "2", "-x", "2", "-w", "1", "-q", "10", "-r", "7") as mux:
        wait_until(lambda: mux.state() == "II", "two idle workers")

        def descriptors() -> int:
            return len(list(Path(f"/proc/{mux.program.pid}/fd").iterdir()))

        before = descriptors()
        for number in range(60):
            with socket.socket(socket.AF_UNIX) as rude:
                rude.connect(os.fspath(mux.path))
                rude.sendall(b"scan Q1 /d\n" if number % 2 else b"sca")
            assert mux.ask("scan Q1 /d") == "ok\n"
        wait_until(lambda: mux.state() == "II" and descriptors() == before, "as many descriptors as before")


def test_group_may_use_the_socket_and_files_with_the_option(spool: Path) -> None:
    with running(spool, "-G") as mux:
        assert mux.path.stat().st_mode & 0o777 == 0o770


@pytest.mark.system
@pytest.mark.slow
def test_worker_over_its_time_is_answered_for_and_killed(spool: Path) -> None:
    with running(spool, "-x", "1", "-q", "3", "-b", "10") as mux:
        hanging = mux.ask_later("stubborn")
        wait_until(lambda: mux.state() == "B", "a busy worker")
        waiting = mux.ask_later("scan Q1 /d")
        assert hanging.wait() == "ERR Filter timed out - check filter rules or system load\n"
        assert mux.state() == "K"
        # TERM is ignored; KILL comes ten seconds later, and makes room for what waits.
        assert waiting.wait() == "ok\n"


def test_statistics_and_listeners_are_told_of_the_same_steps(spool: Path) -> None:
    statistics, address = spool / "stats", spool / "notify.sock"
    with (
        running(spool, "-t", str(statistics), "-u", "-O", str(address), "-x", "1", "-T", "-d", "-A") as mux,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        # The socket for requests, which shows that it runs, comes first.
        wait_until(lambda: listens(address), "listeners are let in")
        listener.settimeout(COMMAND_LIMIT_S)
        listener.connect(os.fspath(address))
        told = listener.makefile("rwb", buffering=0)
        assert told.readline() == b"*OK\n"
        wait_until(lambda: mux.state() == "I", "an idle worker")
        told.write(b"?FZYSR\n")
        # A reread that is told shows that the interest has arrived.
        mux.ask("reread")
        heard = b""
        while b"R\n" not in heard:
            heard = told.readline()
        wait_until(lambda: mux.state() == "I", "an idle worker")
        assert mux.ask("scan Q1 /d") == "ok\n"
        lines = [told.readline() for _ in range(11)]
        assert b"".join(lines).endswith(
            b"S 0 StateChange Idle -> Busy\nF 0\nZ\nS 0 scan Q1\nS 0 StateChange Busy -> Idle\nF 1\nY\n"
        )
        assert stat.S_IMODE(statistics.stat().st_mode) == 0o600
        events = [line.split()[2] for line in statistics.read_text().splitlines()]
        assert events == ["StartWorker", "KillWorker", "ReapWorker", "StartWorker", "StartFilter", "EndFilter"]
        mux.program.wait_log(r"stats \d+\.\d{3} EndFilter worker=0 nworkers=1 nbusy=0 numRequests=1")
        mux.program.wait_log("Worker 0: BUSY to IDLE running=1 busy=0 free=1 kind=scan")
        mux.program.wait_log("Q1: Scheduling idle worker 0 for scan Q1 /d")
        statistics.rename(spool / "stats.1")
        os.kill(mux.program.pid, signal.SIGHUP)
        wait_until(statistics.exists, "a new file")
    assert not address.exists()


def test_a_worker_that_takes_too_much_memory_fails_its_request_alone(spool: Path) -> None:
    greedy = write_program(
        spool / "greedy.pl",
        """#!/usr/bin/perl
$| = 1;
while (<STDIN>) { my $all = "x" x (/much/ ? 400_000_000 : 1); print "ok\\n" }
""",
    )
    with running(spool, "-M", "200000", worker=greedy) as mux:
        assert mux.ask("scan Q1 much") == "ERR No response from worker\n"
        assert mux.ask("scan Q2 little") == "ok\n"


@pytest.fixture
def private_perl_filter() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="defang-filter-") as name:
        path = Path(name) / "filter"
        path.write_text("sub filter_relay { return ('CONTINUE', 'fine') } 1;\n")
        Path(name).chmod(0o755)
        path.chmod(0o644)
        yield path


@pytest.mark.system
def test_original_worker_serves(private_perl_filter: Path) -> None:
    """Debian's mimedefang.pl, which works in the spool compiled into it, as its own user."""
    spool = Path(tempfile.mkdtemp(prefix="defang-"))
    shutil.chown(spool, "defang", "defang")
    socket_path = spool / "mx.sock"
    program = Program(
        "defang-mux",
        [
            *(sys.executable, "-m", "defang_mux", "-U", "defang", "-z", spool, "-s", socket_path, "-D", "-Z", "-l"),
            *("-f", "/usr/bin/mimedefang.pl", "-F", private_perl_filter),
        ],
        log=spool / "log",
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        program.wait_ready(f"unix:{socket_path}")
        assert ask(socket_path, "ping") == "PONG\n"
        assert ask(socket_path, "relayok 192.0.2.1 name 1 192.0.2.2 25 Q1") == "ok 1 fine 250 2.1.0 0\n"
        assert ask(socket_path, "helook 192.0.2.1 name helo 1 192.0.2.2 25 Q1") == "ok 1 ok 250 2.1.0 0\n"
    finally:
        assert program.stop() == 0
        shutil.rmtree(spool)
