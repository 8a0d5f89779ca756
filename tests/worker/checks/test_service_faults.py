# SPDX-License-Identifier: GPL-3.0-or-later
"""Every service with every fault: the declared policies happen in time, and the next message is unaffected."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import Check, Outcome
from defang_worker.checks.crew import CREW
from tests.support.fake_scanners import PLAIN
from tests.support.process import wait_until
from tests.worker.checks.faulty_services import RIGS, SENDER_DOMAIN, STREAMS, Fault, Rig

# For faults that only the clock ends; whether what came is garbage may be known only when nothing else comes.
SHORT_S = 0.3
WAITED_FOR = {Fault.HANGING, Fault.SLOW, Fault.LATE, Fault.GARBAGE}
# Many times what a busy machine needs, and nothing beside what one would wait that forgets its deadline.
GENEROUS_S = 20.0


def message() -> Message:
    return Message(commands.decode(b"S<alice@%b>\nF\n" % SENDER_DOMAIN.encode()), PLAIN, "/nowhere", Settings())


def checks_of(rig: Rig) -> list[Check[Any, Any]]:
    """One for each policy."""
    timeout_s = SHORT_S if rig.fault in WAITED_FOR else GENEROUS_S
    return [
        rig.check(f"to-{policy}", timeout_s=timeout_s, on_failure=policy) for policy in ("tempfail", "mark", "ignore")
    ]


def as_if_time_had_passed(checks: list[Check[Any, Any]]) -> None:
    """The pauses of services that are down are over, and the machine may be slow from now on."""
    for check in checks:
        check.timeout_s = GENEROUS_S  # type: ignore[misc]  # a constant, but for tests
        for circuit in check.circuits:
            if circuit.is_open:
                circuit._open_until = 0.0


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("service", RIGS)
def test_policies_happen_in_time_and_the_next_message_is_unaffected(
    service: str, fault: Fault, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hung_before = len(CREW._hung)
    with RIGS[service](spool, fault) as rig:
        checks = checks_of(rig)
        bad = message()
        with caplog.at_level(logging.INFO):
            results = bad.run_checks(*checks)
        assert [result.outcome for result in results] == [Outcome.UNKNOWN] * 3, results.named("to-mark")
        assert all(result.elapsed_s < GENEROUS_S for result in results)
        assert bad.verdict is not None
        assert bad.verdict.reply == "Could not be checked now (to-tempfail), please try again later"
        assert bad.headers.all("X-Defang-Unchecked") == ["to-mark"]
        for check in checks:
            assert f"check {check.name}: unknown in " in caplog.text
        # Whoever is asked over a connection keeps the deadline; of others the runner lets go.
        assert (len(CREW._hung) > hung_before) == rig.hangs_threads

        rig.heal()
        wait_until(lambda: not any(hand.is_alive() for hand in CREW._hung), "the threads that were let go have ended")
        as_if_time_had_passed(checks)
        good = message()
        assert [result.outcome for result in good.run_checks(*checks)] == [Outcome.NOT_FOUND] * 3
        assert good.verdict is None


@pytest.mark.parametrize("service", STREAMS)
def test_service_that_is_down_is_noticed_once_and_left_alone(
    service: str, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RIGS[service](spool, Fault.CLOSING_EARLY) as rig:
        check = rig.check("x", timeout_s=GENEROUS_S)
        for _ in range(3):
            assert message().run_checks(check)[check].is_unknown
        connections = rig.service.connections  # type: ignore[attr-defined]
        check.circuits[0]._open_until = float("inf")  # a pause that the test cannot outlast
        for _ in range(3):
            assert "not asked" in message().run_checks(check)[check].detail
        assert rig.service.connections == connections  # type: ignore[attr-defined]
        assert caplog.text.count("is down, and tried again from time to time") == 1
        rig.heal()
        as_if_time_had_passed([check])
        for _ in range(2):
            assert message().run_checks(check)[check].outcome is Outcome.NOT_FOUND
        assert caplog.text.count("answers again") == 1
