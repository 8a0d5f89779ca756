# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports, byte for byte in the formats that monitors read by position."""

from __future__ import annotations

import pytest

from defang_mux import reports
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Kind, Limits, Ticket, kind_of

LIMITS = Limits(
    min_workers=1,
    max_workers=4,
    max_requests=500,
    idle_timeout_s=300,
    start_interval_s=3,
    activation_interval_s=0,
    queue_size=10,
    queue_timeout_s=30,
)


@pytest.fixture
def pool() -> Pool:
    """Worker 0 stopped, 1 busy with a scan since 12 s, 2 idle after a recipient check, 3 killed; now is 20."""
    pool = Pool(LIMITS, now=0, epoch_offset_s=0)
    asked = [Ticket(line=line, kind=kind_of(line)) for line in (b"ping", b"scan Q%2012 /d", b"recipok <a@b> x", b"x")]
    for ticket in asked:
        pool.submit(ticket, 1)
    for number in range(4):
        pool.slots[number].pid = 1000 + number
    for number in (0, 1, 2, 3):
        if number == 1:
            continue
        pool.finished(pool.slots[number], 2, unfit="x" if number == 3 else None)
    pool.reaped(pool.slots[0], 3)
    pool.slots[1].changed_at = 12
    return pool


def test_status_has_a_letter_for_each_worker_and_five_numbers(pool: Pool) -> None:
    assert reports.status(pool, 20) == b"SBIK 0 4 10 0 20\n"


def test_workers_tells_process_request_last_kind_age_and_tag(pool: Pool) -> None:
    assert reports.workers(pool, 20, busy_only=False) == (
        b"0 S ago=17\n1 B 1001 scan last=scan ago=8 (scan Q 12)\n2 I 1002 last=recipok ago=18\n3 K 1003 ago=18\n"
    )
    assert reports.workers(pool, 20, busy_only=True) == b"1 B 1001 scan last=scan ago=8 (scan Q 12)\n"


def test_status_tag_of_the_worker_itself_comes_first(pool: Pool) -> None:
    pool.slots[1].tag = b"parsing"
    assert b"(parsing)" in reports.workers(pool, 20, busy_only=True)


def test_worker_info_has_nine_lines(pool: Pool) -> None:
    assert reports.worker_info(pool, 1, 20) == (
        b"Worker 1\nState Busy\nPID 1001\nNumRequests 0\nNumScans 0\nAge 19\nFirstReqAge 19\n"
        b"LastStateChangeAge 8\nStatusTag scan Q 12\n"
    )
    assert reports.worker_info(pool, 0, 20) == (
        b"Worker 0\nState Stopped\nPID -1\nNumRequests 1\nNumScans 0\nAge -1\nFirstReqAge -1\n"
        b"LastStateChangeAge 17\nStatusTag \n"
    )


def test_the_line_for_the_log_has_states_and_totals(pool: Pool) -> None:
    assert reports.status_line(pool) == (
        "Worker status: Stopped=1 Idle=1 Busy=1 Killed=1 Queued=0 Msgs=0 Activations=4"
    )


def test_load_has_29_words_and_one_where_nothing_was_busy(pool: Pool) -> None:
    empty = b"0 0 0 0 1.000000 1.000000 1.000000 1.000000 0.000000 0.000000 0.000000 0.000000 "
    assert reports.load(Kind.SCAN, pool, 20) == empty + b"0 4 4 4 0 1 1 1 1 1 1 1 0 4 10 0 20\n"
    assert reports.load(Kind.RELAYOK, pool, 20) == empty + b"0 0 0 0 0 0 0 0 1 1 1 1 0 4 10 0 20\n"
    pool.finished(pool.slots[1], 20.5)
    scans = reports.load(Kind.SCAN, pool, 20.5).split()
    assert len(scans) == 29
    assert scans[:4] == [b"1"] * 4
    assert scans[8] == b"19500.000000"


def test_load1_has_26_words_and_what_is_running_now(pool: Pool) -> None:
    assert reports.load1(pool, 60, 20) == (
        b"0 0.000000 0.000000 0 0.000000 0.000000 0 0.000000 0.000000 1 3.000000 1000.000000 "
        b"1 1 1 1 0 4 10 0 20 60 1 0 0 0\n"
    )


def test_hload_has_16_words(pool: Pool) -> None:
    assert reports.hload(Kind.RECIPOK, pool, 20) == (
        b"1 1 1 1 3.000000 3.000000 3.000000 3.000000 1000.000000 1000.000000 1000.000000 1000.000000 0 0 0 0\n"
    )


def test_histogram_counts_how_many_were_busy(pool: Pool) -> None:
    assert reports.busy_histogram(pool) == b"   1 1\n   2 1\n   3 1\n   4 1\n"


def test_free_counts_idle_and_stopped_and_those_being_replaced_and_messages_finished_scans(pool: Pool) -> None:
    assert reports.free(pool) == b"3\n"
    assert reports.messages(pool) == b"0\n"
    pool.broken(pool.slots[1], 21, reason="Busy timeout", died=False)
    assert reports.messages(pool) == b"1\n"
