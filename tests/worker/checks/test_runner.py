# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks side by side: every one gets its result, whatever any of them does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from defang_worker.checks import crew, runner
from defang_worker.checks.budget import Budget, Deadline
from defang_worker.checks.circuit import Circuit
from defang_worker.checks.crew import Crew
from defang_worker.checks.faults import CouldNotTell, ServiceDown
from defang_worker.checks.outcome import Outcome
from defang_worker.checks.runner import Results
from tests.worker.checks.fakes import FakeCheck


def _budget(total_s: float = 60.0) -> Budget:
    return Budget.of(total_s, now=time.monotonic())


def _run(*checks: FakeCheck, total_s: float = 60.0) -> Results:
    return runner.run(checks, "subject", _budget(total_s))


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hanging jobs wait for; set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def _hanging(release: threading.Event) -> Callable[[Deadline], object]:
    def hang(deadline: Deadline) -> object:
        release.wait()
        return None

    return hang


def test_each_check_has_its_result() -> None:
    clean, virus = FakeCheck("clean"), FakeCheck("virus", Outcome.FOUND)
    results = _run(clean, virus)
    assert results[clean].outcome is Outcome.NOT_FOUND
    assert results[virus].is_found
    assert [result.check for result in results] == ["clean", "virus"]
    assert results.found == (results[virus],)
    assert results.named("virus") is results[virus]
    assert len(results) == 2
    assert clean.subjects == ["subject"]


def test_checks_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3)

    def meet(deadline: Deadline) -> object:
        barrier.wait(10)  # passes only if all three are there at once
        return check.result(Outcome.NOT_FOUND)

    check = FakeCheck()
    results = _run(*(FakeCheck(name, meet) for name in "abc"))
    assert not results.unknown


@pytest.mark.parametrize(
    "fault", [CouldNotTell("too large"), ServiceDown("refused"), TimeoutError("late"), OSError("x")]
)
def test_check_that_fails_could_not_tell_and_says_why(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = FakeCheck("bad", fault), FakeCheck("good")
    with caplog.at_level(logging.INFO):
        results = _run(bad, good)
    assert (results[bad].outcome, results[bad].detail) == (Outcome.UNKNOWN, str(fault))
    assert not results[good].is_unknown
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.INFO]


@pytest.mark.parametrize("does", [ZeroDivisionError("oops"), SystemExit(3), lambda deadline: "nonsense"])
def test_fault_in_a_checks_own_code_could_not_tell_either(does: BaseException | Callable[[Deadline], object]) -> None:
    bad = FakeCheck("bad", does)
    assert _run(bad)[bad].is_unknown


def test_every_call_is_logged_with_outcome_and_time(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        _run(FakeCheck("clamd", Outcome.FOUND))
    assert [record.message.partition(" ms")[0].rpartition(" in ")[0] for record in caplog.records] == [
        "check clamd: found"
    ]
    assert caplog.records[0].message.endswith(": as told")


def test_plain_result_needs_no_thread() -> None:
    check = FakeCheck(does=Outcome.NOT_APPLICABLE, is_plain=True)
    assert _run(check)[check].outcome is Outcome.NOT_APPLICABLE
    assert check.deadlines == []


def test_check_gets_its_own_limit_or_what_is_left_of_the_budget() -> None:
    short, long = FakeCheck("short", timeout_s=5), FakeCheck("long", timeout_s=500)
    budget = _budget(60)
    runner.run([short, long], None, budget)
    assert short.deadlines[0].at < budget.ends_at
    assert long.deadlines[0].at == budget.ends_at


def test_spent_budget_asks_nobody() -> None:
    check = FakeCheck()
    results = runner.run([check], None, Budget.of(1, now=time.monotonic() - 2))
    assert results[check].is_unknown
    assert check.subjects == []


def test_hung_check_is_left_and_the_next_message_is_unaffected(release: threading.Event) -> None:
    hung, good = FakeCheck("hung", _hanging(release), timeout_s=0.01), FakeCheck("good")
    results = _run(hung, good)
    assert (results[hung].outcome, results[hung].detail) == (Outcome.UNKNOWN, "no answer in time")
    assert hung.given_up == ["no answer in time"]
    assert not results[good].is_unknown
    assert not release.is_set()  # it hangs still
    again = FakeCheck("good", Outcome.FOUND)
    assert _run(again)[again].is_found


def test_late_answer_reaches_nobody(release: threading.Event) -> None:
    late = threading.Event()

    def answer(deadline: Deadline) -> object:
        release.wait()
        late.set()
        return check.result(Outcome.FOUND)

    check = FakeCheck("late", answer, timeout_s=0.01)
    assert _run(check)[check].is_unknown
    release.set()
    assert late.wait(10)
    check.does = Outcome.NOT_FOUND
    assert _run(check)[check].outcome is Outcome.NOT_FOUND


def test_service_that_is_down_is_not_asked_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    circuit = Circuit("/run/clamd")
    circuit.failed("refused", time.monotonic() + 1000, is_down=True)
    check = FakeCheck("clamd", circuit=circuit)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert _run(check)[check].detail == "not asked: refused"
    assert check.subjects == []
    assert [record.message for record in caplog.records] == [
        "check clamd: /run/clamd: is down, and tried again from time to time: refused"
    ]


def test_two_checks_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="names of their own: a, a"):
        _run(FakeCheck("a"), FakeCheck("a"))


def test_threads_are_used_again() -> None:
    own = Crew()
    seen = {own.run([(threading.get_ident, time.monotonic() + 60)])[0].value for _ in range(5)}  # type: ignore[union-attr]
    assert len(seen) == 1


def test_with_too_many_that_hang_no_more_are_begun(release: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_MAX_HUNG", 2)
    own = Crew()
    now = time.monotonic()
    own.run([(release.wait, now), (release.wait, now)])
    hung = own.run([(lambda: 1, time.monotonic() + 60)])
    assert [isinstance(one, crew.Hung) and not one.is_begun for one in hung] == [True]
    release.set()
    for hand in own._hung:
        hand.join(10)
    ended = own.run([(lambda: 1, time.monotonic() + 60)])
    assert [isinstance(one, crew.Ended) and one.value for one in ended] == [1]


@pytest.mark.parametrize(("timeout_s", "name", "policy"), [(0, "a", "mark"), (1, "", "mark"), (1, "a", "shrug")])
def test_check_that_makes_no_sense_is_refused(timeout_s: float, name: str, policy: str) -> None:
    with pytest.raises(ValueError, match=r"timeout_s|name|policy|shrug"):
        FakeCheck(name, timeout_s=timeout_s, on_failure=policy)
