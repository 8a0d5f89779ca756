# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of the latest requests, and what `why`, `slow` and `health` make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from defang_common.wire import percent
from defang_mux import ctl_questions, health, transactions
from defang_mux.pool import ledger as ledger_module
from defang_mux.pool.ledger import Entry, Ledger, Outcome
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Kind, Limits, Ticket, kind_of

SENDEROK = b"senderok <a@x.example> 192.0.2.1 h.example helo /spool/mdefang-1 NOQUEUE"
RECIPOK = b"recipok <r@y.example> <a@x.example> 192.0.2.1 h.example <r@y.example> helo /spool/mdefang-1 Q1 ? ? ?"
SCAN = b"scan Q1 /spool/mdefang-1"
EPOCH_S = 1_000_000.0


def entry(
    line: bytes,
    reply: bytes = b"ok\n",
    *,
    at: float = 10,
    wait_s: float = 0,
    work_s: float = 0.5,
    outcome: Outcome = Outcome.ANSWERED,
    worker: int | None = 1,
    said: tuple[str, ...] = (),
) -> Entry:
    return Entry(kind_of(line), outcome, at, at + wait_s, at + wait_s + work_s, worker, line, reply, list(said))


def ledger_of(*entries: Entry) -> Ledger:
    ledger = Ledger()
    for one in entries:
        ledger.note(one)
    return ledger


def asked_why(ledger: Ledger, queue_id: bytes = b"Q1") -> list[dict[str, Any]]:
    return [json.loads(line) for line in transactions.why(ledger, queue_id, EPOCH_S).splitlines()]


def test_message_is_followed_from_sender_to_scan_and_no_other_is_shown() -> None:
    refusal = b"ok 0 No%20such%20user 550 5.1.1 0\n"
    ledger = ledger_of(
        entry(SENDEROK, b"ok 1\n"),
        entry(b"scan Q2 /spool/mdefang-2"),
        entry(RECIPOK, refusal),
        entry(SCAN, wait_s=0.25, said=("Q1: filter_begin: reject We do not",)),
    )
    found = asked_why(ledger)
    assert [one["request"] for one in found] == ["senderok", "recipok", "scan"]
    assert [one["verdict"] for one in found] == ["continue", "reject 550 5.1.1 No such user", None]
    scan = found[2]
    assert (scan["waited_ms"], scan["worked_ms"], scan["worker"]) == (250, 500, 1)
    assert scan["log"] == ["Q1: filter_begin: reject We do not"]
    assert scan["time"] == EPOCH_S + 10


def test_message_without_queue_id_is_found_by_its_transaction() -> None:
    ledger = ledger_of(
        entry(b"senderok a 192.0.2.1 n h /spool/mdefang-iw9na00 NOQUEUE"),
        entry(b"senderok a 192.0.2.1 n h /spool/mdefang-iw9na01 NOQUEUE"),
        entry(b"recipok b a 192.0.2.1 n b h /spool/mdefang-iw9na00 NOQUEUE ? ? ?"),
        entry(b"relayok 192.0.2.1 n 1 192.0.2.2 25 NOQUEUE"),
    )
    assert [one["request"] for one in asked_why(ledger, b"iw9na00")] == ["senderok", "recipok"]
    assert transactions.why(ledger, b"9na00", EPOCH_S) == transactions.NOT_FOUND


@pytest.mark.parametrize("no_message", [b"", b"NOQUEUE"])
def test_all_messages_without_queue_id_are_not_taken_for_one(no_message: bytes) -> None:
    ledger = ledger_of(entry(b"relayok 192.0.2.1 n 1 192.0.2.2 25 NOQUEUE"))
    assert transactions.why(ledger, no_message, EPOCH_S) == transactions.NO_MESSAGE


def test_unknown_message_is_an_error() -> None:
    assert transactions.why(ledger_of(entry(SCAN)), b"Q3", EPOCH_S) == transactions.NOT_FOUND


def test_request_that_got_no_worker_is_shown_with_the_reason() -> None:
    refused = entry(SCAN, b"error: Queued request timed out\n", worker=None, work_s=30, outcome=Outcome.REFUSED)
    (found,) = asked_why(ledger_of(refused))
    assert (found["worker"], found["worked_ms"], found["waited_ms"]) == (None, None, 30_000)
    assert found["reply"] == "error: Queued request timed out"


@pytest.mark.parametrize("characters", [4, 4000])
def test_state_of_filters_is_not_shown(characters: int) -> None:
    value = b"A" * characters
    (found,) = asked_why(ledger_of(entry(SCAN + b' "AAAA""' + value + b'"', b'ok "-"' + value + b"\n")))
    assert (found["words"], found["reply"]) == ("Q1 /spool/mdefang-1", "ok")


def test_what_is_long_is_cut() -> None:
    ledger = ledger_of(
        entry(SCAN + b' "AAAA""' + b"A" * 4000 + b'"', b"ok '" + b"A" * 4000 + b' "-"AAAA\n'),
        entry(SCAN + b" " + b"x" * 4000, b"ok 1 ok 250 2.1.0 0 " + b'"-"' + b"A" * 170_000 + b"\n"),
    )
    assert [(len(kept.line), len(kept.reply)) for kept in ledger.recent] == [(len(SCAN), 2048), (2048, 19)]


@pytest.mark.parametrize("characters", [4, 4000])
def test_what_came_before_the_queue_id_is_found_whatever_state_it_has(characters: int) -> None:
    state = b' "' + b"A" * characters + b'"'
    found = asked_why(ledger_of(entry(SENDEROK + state, b"ok 1 ok 250 2.1.0 0\n"), entry(SCAN + state)))
    assert [one["request"] for one in found] == ["senderok", "scan"]
    assert found[0]["verdict"] is not None


def test_results_on_an_answer_are_not_shown() -> None:
    (found,) = asked_why(ledger_of(entry(SCAN + b' """', b'ok \'SFgtQSB4CkYK "-"AAAA\n')))
    assert (found["words"], found["reply"]) == ("Q1 /spool/mdefang-1", "ok")


def test_reply_survives_a_control_program_that_undoes_escapes() -> None:
    line = b"scan Q1 /spool/100%25"
    raw = transactions.why(ledger_of(entry(line)), b"Q1", EPOCH_S)
    assert b"%" not in raw
    assert json.loads(percent.decode(raw))["words"] == "Q1 /spool/100%"


def test_slowest_come_first_and_as_many_as_are_wanted() -> None:
    ledger = ledger_of(*(entry(b"scan Q%d /d" % number, work_s=number) for number in (1, 3, 2)))
    lines = transactions.slow(ledger, 2, EPOCH_S).splitlines()
    assert [json.loads(line)["queue_id"] for line in lines] == ["Q3", "Q2"]


def test_ring_is_bounded_and_sums_go_on() -> None:
    ledger = ledger_of(*[entry(SCAN)] * (ledger_module.MOST_KEPT + 5))
    assert len(ledger.recent) == ledger_module.MOST_KEPT
    assert ledger.scanned == ledger_module.MOST_KEPT + 5


def test_durations_are_only_kept_if_somebody_wants_them() -> None:
    assert Ledger().durations is None
    ledger = Ledger(with_durations=True)
    ledger.note(entry(SCAN, wait_s=0.03, work_s=0.3))
    ledger.note(entry(SCAN, worker=None, outcome=Outcome.REFUSED))
    assert ledger.durations is not None
    work = ledger.durations[Kind.SCAN].work
    assert (sum(work.counts), round(work.sum_s, 3)) == (1, 0.3)
    assert work.counts[ledger_module.BOUNDS_S.index(0.5)] == 1
    assert ledger.durations[Kind.SCAN].wait.counts[ledger_module.BOUNDS_S.index(0.05)] == 1


# Health


def pool_of(*, busy: int = 0) -> Pool:
    limits = Limits(
        min_workers=1, max_workers=2, max_requests=500, idle_timeout_s=300, start_interval_s=3,
        activation_interval_s=0, queue_size=4, queue_timeout_s=30,
    )  # fmt: skip
    pool = Pool(limits, now=0, epoch_offset_s=EPOCH_S)
    for number in range(busy):
        pool.submit(Ticket(line=b"scan Q%d /d" % number, kind=Kind.SCAN), 1)
    return pool


def health_of(pool: Pool, ledger: Ledger, now: float = 20) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(health.report(pool, ledger, now))
    return facts


def test_all_is_well_where_nothing_is_wrong() -> None:
    facts = health_of(pool_of(busy=1), ledger_of(entry(SCAN)))
    assert (facts["level"], facts["status"], facts["reasons"]) == (0, "ok", [])
    assert (facts["busy"], facts["workers"], facts["uptime_s"]) == (1, 2, 20)


def test_workers_all_busy_and_a_queue_half_full_are_warnings() -> None:
    assert health_of(pool_of(busy=2), Ledger())["reasons"] == ["all workers are busy"]
    facts = health_of(pool_of(busy=4), Ledger())
    assert facts["level"] == 1
    assert "2 of 4 places in the queue are taken" in facts["reasons"]


def test_faults_are_a_warning_until_they_are_past() -> None:
    ledger = ledger_of(entry(SCAN), *(entry(SCAN, outcome=outcome) for outcome in health._FAULTS))
    facts = health_of(pool_of(), ledger)
    assert facts["level"] == 1
    assert len(facts["reasons"]) == len(health._FAULTS)
    assert health_of(pool_of(), ledger, now=11 + health.WINDOW_S)["level"] == 0


def test_command_that_the_filter_refuses_is_no_fault() -> None:
    refused = entry(b"nonsense x", b"error: Unknown command\n", outcome=Outcome.ERROR)
    assert health_of(pool_of(), ledger_of(entry(SCAN), refused))["level"] == 0
    lost = entry(b"nonsense x", b"ERR No response from worker\n", outcome=Outcome.FAILED)
    assert health_of(pool_of(), ledger_of(entry(SCAN), lost))["level"] == 1


@pytest.mark.parametrize("line", [b"map a b", b"relayok 192.0.2.1", SENDEROK, SCAN])
def test_error_of_anything_but_a_command_is_a_fault(line: bytes) -> None:
    faulty = entry(line, b"error: x\n", outcome=Outcome.ERROR)
    assert health_of(pool_of(), ledger_of(entry(SCAN), faulty))["level"] == 1


def test_filter_that_could_not_be_read_anew_is_a_warning_until_it_can() -> None:
    ledger = Ledger()
    ledger.reread_fault = "/f.py:3: SyntaxError\nTraceback"
    facts = health_of(pool_of(), ledger, now=9000)
    assert (facts["level"], facts["reasons"]) == (1, ["the filter was not read anew: /f.py:3: SyntaxError"])
    ledger.reread_fault = None
    assert health_of(pool_of(), ledger, now=9000)["level"] == 0


def test_nothing_but_failures_is_critical() -> None:
    failed = [entry(SCAN, outcome=Outcome.FAILED)] * 5
    assert health_of(pool_of(), ledger_of(*failed))["level"] == 2
    assert health_of(pool_of(), ledger_of(*failed, entry(SCAN)))["level"] == 1


def test_workers_that_die_at_once_are_critical() -> None:
    pool = pool_of()
    for now in range(1, 9):
        for action in pool.wake(now * 100):
            slot = getattr(action, "slot", None)
            if slot is not None:
                pool.start_failed(slot, now * 100)
    facts = health_of(pool, Ledger(), now=801)
    assert facts["level"] == 2
    assert facts["reasons"][0].startswith("workers die before their first answer")


def test_filter_that_cannot_be_loaded_is_critical_before_any_mail_comes() -> None:
    ledger = Ledger()
    ledger.filter_fault = "/f.py:7: NameError\nTraceback"
    facts = health_of(pool_of(), ledger)
    assert facts["level"] == 2
    assert facts["reasons"] == ["the filter cannot be loaded: /f.py:7: NameError"]
    assert facts["filter_fault"] == facts["reasons"][0]
    assert health_of(pool_of(), Ledger())["filter_fault"] is None


# What people and monitors see


def shown(typed: str, reply: bytes) -> tuple[str, int]:
    question = ctl_questions.find(typed)
    assert question is not None
    return question.show(reply.decode())


def test_monitor_gets_a_line_and_the_level_as_exit_status() -> None:
    reply = health.report(pool_of(busy=2), Ledger(), 20)
    assert shown("health", reply) == (
        "warning: all workers are busy (2 of 2 workers busy, 0 queued, 0 messages, up 20 s)\n", 1,
    )  # fmt: skip
    assert shown("jsonhealth", reply) == (reply.decode(), 1)
    assert shown("health", b"error: Unknown command\n") == ("unknown: error: Unknown command\n", 3)


def test_people_get_lines_with_the_log_below() -> None:
    reply = transactions.why(ledger_of(entry(SCAN, wait_s=0.25, said=("hm",))), b"Q1", EPOCH_S)
    text, status = shown("why Q1", reply)
    assert status == 0
    first, *rest = text.splitlines()
    assert first.endswith(" Q1 scan: answered")
    assert rest == ["    worker 1 for 500 ms, waited 250 ms; Q1 /spool/mdefang-1", "    log: hm"]
    assert shown("jsonwhy Q1", reply) == (reply.decode(), 0)


def test_refusal_is_shown_with_its_text_and_a_failure_with_its_reply() -> None:
    reply = transactions.why(ledger_of(entry(RECIPOK, b"ok 0 No 550 5.1.1 0\n")), b"Q1", EPOCH_S)
    assert "recipok: reject 550 5.1.1 No\n" in shown("why Q1", reply)[0]
    lost = entry(SCAN, b"ERR No response from worker\n", outcome=Outcome.FAILED)
    assert (
        "scan: failed: ERR No response from worker\n" in shown("why Q1", transactions.why(ledger_of(lost), b"Q1", 0))[0]
    )


def test_error_reply_is_an_error_and_no_request_at_all_is_none() -> None:
    assert shown("why Q9", transactions.NOT_FOUND) == (transactions.NOT_FOUND.decode(), 1)
    assert shown("slow", b"") == ("", 0)


def test_questions_are_told_from_other_commands() -> None:
    assert ctl_questions.find("why") is not None
    assert ctl_questions.find("healthy") is None
    assert ctl_questions.find("slow 5") is not None
