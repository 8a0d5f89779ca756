# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines are commands, on which socket, and their error texts."""

from __future__ import annotations

import json

import pytest

from defang_mux.pool.ledger import Entry, Ledger, Outcome
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Kind, Limits
from defang_mux.sockets.control import HELP, NOT_HERE, Control, reread_reply

LIMITS = Limits(
    min_workers=1,
    max_workers=3,
    max_requests=500,
    idle_timeout_s=300,
    start_interval_s=3,
    activation_interval_s=0,
    queue_size=4,
    queue_timeout_s=30,
)


class Desk:
    """A control desk over an empty pool."""

    def __init__(self) -> None:
        pool = Pool(LIMITS, now=0, epoch_offset_s=0)
        self.control = Control(pool, Ledger(), version="1.2", clock=lambda: 7.5)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"free", b"3\n"),
        (b"version", b"1.2"),
        (b"tick", b"error: External agents may not invoke 'tick'\n"),
        (b"status", b"SSS 0 0 4 0 7\n"),
        (b"workers", b"0 S ago=7\n1 S ago=7\n2 S ago=7\n"),
        (b"slaves", b"0 S ago=7\n1 S ago=7\n2 S ago=7\n"),
        (b"busyworkers", b""),
        (b"busyslaves", b""),
        (b"histo", b"   1 0\n   2 0\n   3 0\n"),
        (b"msgs", b"0\n"),
        (b"mux-abilities", b"abilities state no-header-files results-on-answer\n"),
        (b"foo_no_such_command", b"error: Unknown command\n"),
        (b"", b"error: Unknown command\n"),
        (b"load1 9", b"error: Invalid 'back' amount (must be 10-600)\n"),
        (b"load1 601", b"error: Invalid 'back' amount (must be 10-600)\n"),
        (b"load1 x", b"error: Invalid 'back' amount (must be 10-600)\n"),
        (b"load1 ", b"error: Invalid 'back' amount (must be 10-600)\n"),
        (b"load1", b"error: Invalid 'back' amount (must be 10-600)\n"),
        (b"workerinfo", b"error: Invalid worker number\n"),
        (b"workerinfo x", b"error: Invalid worker number\n"),
        (b"workerinfo 3", b"error: Worker number out of range\n"),
        (b"slaveinfo -1", b"error: Worker number out of range\n"),
    ],
)
def test_reply_is_the_same_on_both_sockets(desk: Desk, line: bytes, reply: bytes) -> None:
    assert desk.control.reply(line, privileged=True) == reply
    assert desk.control.reply(line, privileged=False) == reply


@pytest.mark.parametrize(("line", "words"), [(b"load", 29), (b"load-relayok", 29), (b"hload-recipok", 16)])
def test_load_commands_have_their_number_of_words(desk: Desk, line: bytes, words: int) -> None:
    reply = desk.control.reply(line, privileged=False)
    assert reply is not None
    assert len(reply.split()) == words


def test_autoscaling_is_told_to_the_owner_alone(desk: Desk) -> None:
    told = (
        b"enabled=0 interval=15 ema_busy=0.0000 scale_out=0.80 scale_in=0.30 out_cool=5 in_cool=30 ema_alpha=0.2500\n"
    )
    assert desk.control.reply(b"autoscale", privileged=True) == told
    assert desk.control.reply(b"autoscale", privileged=False) == NOT_HERE


def test_words_behind_the_number_do_not_matter(desk: Desk) -> None:
    reply = desk.control.reply(b"load1 60", privileged=True)
    assert reply is not None
    assert len(reply.split()) == 26
    assert desk.control.reply(b"load1 60 junk", privileged=True) == reply
    info = desk.control.reply(b"workerinfo 1", privileged=True)
    assert info is not None
    assert info.startswith(b"Worker 1\nState Stopped\n")


@pytest.mark.parametrize(
    "line",
    [
        b"free ",
        b"FREE",
        b"rawstatus",
        b"load1x",
        b"load-helook",
        b"tick 1",
        b"ping",
        b"scan Q /d",
        b"Own x",
    ],
)
def test_all_else_is_for_a_worker_and_not_for_everyone(desk: Desk, line: bytes) -> None:
    assert desk.control.reply(line, privileged=True) is None
    refused = b"error: Attempt to use privileged command on unprivileged socket\n"
    assert desk.control.reply(line, privileged=False) == refused


def test_reread_is_for_the_privileged(desk: Desk) -> None:
    assert desk.control.reply(b"reread", privileged=False) == NOT_HERE
    assert desk.control.reply(b"reread", privileged=True) is None


def test_reply_to_reread_says_that_it_was_done_or_why_not() -> None:
    assert reread_reply(None, None) == b"Forced reread of filter rules\n"
    assert reread_reply("/f.py:3: NameError\nTraceback", None) == b"error: /f.py:3: NameError\nTraceback\n"
    assert reread_reply(None, "x") == b"Forced reread of filter rules\nnote: x\n"


def test_help_lists_a_command_a_line_and_hides_what_is_refused(desk: Desk) -> None:
    whole = desk.control.reply(b"help", privileged=True)
    part = desk.control.reply(b"help", privileged=False)
    assert whole is not None
    assert part is not None
    assert whole.count(b"\n") == len(HELP)
    assert b"reread" in whole
    assert b"reread" not in part
    assert b"scan id" not in part
    assert all(line[17:20] == b"-- " for line in whole.splitlines())


def test_times_of_day_are_by_the_clock_as_it_is_now_and_not_as_it_was_at_the_start() -> None:
    ledger = Ledger()
    ledger.note(Entry(Kind.SCAN, Outcome.ANSWERED, 2.0, 2.0, 3.0, 0, b"scan Q1 /d", b"ok\n", []))
    clock_is = [0.0]
    control = Control(
        Pool(LIMITS, now=0, epoch_offset_s=0), ledger, version="1.2", clock=lambda: 7.5, wall_clock=lambda: clock_is[0]
    )
    for clock_is[0] in (1000.0, 50_000.0, 500.0):
        for question in (b"why Q1", b"slow 1"):
            told = json.loads(control.reply(question, privileged=True) or b"")
            assert told["time"] == clock_is[0] - 5.5
