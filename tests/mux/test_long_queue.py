# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand requests that wait for ten workers: none is lost, and each is served in its turn."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections import defaultdict, deque
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.mux import LONG_LIMIT_S, USER, running_mux, write_program
from tests.support.process import wait_until

pytestmark = [pytest.mark.system, pytest.mark.slow]

WORKERS = 10
REQUESTS = 1000
# Waits for a file if it is told to, and says whose request it has had.
WORKER = """#!/usr/bin/perl
$| = 1;
while (<STDIN>) {
    my ($word, $id, $how) = split;
    if ($how eq "wait") { select undef, undef, undef, 0.02 until -e "go" }
    print "ok $id\\n";
}
"""


def read_reply(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(4096), b""))


def served_in_order(log: str, statistics: str) -> list[str]:
    """The queue IDs as the pool gave them to workers.

    The statistics have the order of all, without IDs. The log has the IDs, but requests that got their workers in the
    same moment may be logged in any order; the requests of one worker are in theirs.
    """
    of_worker: dict[str, deque[str]] = defaultdict(deque)
    for worker, queue_id in re.findall(r"Scheduling \w+ worker (\d+) for scan (\w+) ", log):
        of_worker[worker].append(queue_id)
    return [of_worker[worker].popleft() for worker in re.findall(r" StartFilter worker=(\d+) ", statistics)]


def test_a_thousand_requests_are_served_by_ten_workers_in_order_and_none_is_lost(spool: Path) -> None:
    if USER:
        account = pwd.getpwnam(USER)
        os.chown(spool, account.pw_uid, account.pw_gid)
    worker = write_program(spool / "worker.pl", WORKER)
    statistics = spool / "stats"
    options = ("-x", str(WORKERS), "-q", str(REQUESTS), "-Q", "600", "-I", "64", "-A", "-t", str(statistics), "-u")
    with running_mux(spool, *options, worker=worker) as mux, ExitStack() as stack:

        def request(line: bytes) -> socket.socket:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            # Without a time limit first: with one, a full backlog is an error and not a wait.
            connection.connect(os.fspath(mux.path))
            connection.settimeout(LONG_LIMIT_S)
            connection.sendall(line)
            return connection

        held = [request(b"scan H%d wait\n" % number) for number in range(WORKERS)]
        wait_until(lambda: mux.state() == "B" * WORKERS, "all workers are busy")
        waiting = []
        for number in range(REQUESTS):
            waiting.append(request(b"scan Q%d /d\n" % number))
            mux.wait_queued(number + 1)
        assert mux.ask("scan Qlast /d") == "error: No free workers\n"
        mux.go()
        assert [read_reply(connection) for connection in held] == [b"ok H%d\n" % number for number in range(WORKERS)]
        replies = [read_reply(connection) for connection in waiting]
        assert replies == [b"ok Q%d\n" % number for number in range(REQUESTS)]
        assert mux.ask("msgs") == f"{WORKERS + REQUESTS}\n"
    served = served_in_order(mux.program.log_text(), statistics.read_text())
    assert served[WORKERS:] == [f"Q{number}" for number in range(REQUESTS)]
