# SPDX-License-Identifier: GPL-3.0-or-later
"""`run_checks` in callbacks: what failure policies do, what the record has, and what time there is."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from defang_worker import checks
from tests.worker.conftest import LoadFilter, make_worker

FILTER = """
    from defang_worker.checks import Outcome
    from defang_worker.checks.faults import ServiceDown
    from tests.worker.checks.fakes import FakeCheck

    settings = Settings(record_log="/nowhere", check_budget_s=30, checks=(FakeCheck("declared", Outcome.FOUND),))
    good = FakeCheck("good")
    bad = FakeCheck("bad", ServiceDown("refused"), on_failure={policy!r})

"""
RELAY = b"relayok 192.0.2.7 client.example.com 1234 192.0.2.1 25 NOQUEUE"


def _results(workdir: Path) -> list[str]:
    return (workdir / "RESULTS").read_text().splitlines()


def _scan(load_filter: LoadFilter, workdir: Path, body: str, policy: str = "tempfail") -> list[str]:
    site = load_filter(FILTER.format(policy=policy) + body)
    assert make_worker(site).answer(f"scan Q1 {workdir}".encode()) == b"ok\n"
    return _results(workdir)


RUN = """
    def filter_begin(message):
        message.scratch["results"] = message.run_checks(good, bad)
        assert message.scratch["results"][bad].is_unknown
"""


def test_check_that_cannot_tell_defers_the_message(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert _scan(load_filter, workdir, RUN) == [
        "T451 4.3.0 Could%20not%20be%20checked%20now%20(bad),%20please%20try%20again%20later",
        "F",
    ]
    assert "deferred, could not be checked: bad" in caplog.messages


def test_check_that_cannot_tell_marks_the_message(load_filter: LoadFilter, workdir: Path) -> None:
    assert _scan(load_filter, workdir, RUN, "mark") == ["HX-Defang-Unchecked bad", "F"]


def test_check_that_cannot_tell_is_ignored(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert _scan(load_filter, workdir, RUN, "ignore") == ["F"]
    assert any(message.startswith("check bad: unknown") for message in caplog.messages)


FIND = """
    from dataclasses import replace
    some = FakeCheck("some", on_failure={policy!r})
    some.does = lambda deadline: replace(some.result(Outcome.FOUND, "Virus"), unchecked="refused")

    def filter_begin(message):
        results = message.run_checks(some)
        assert results.found
        assert not results[some].is_complete
"""


@pytest.mark.parametrize(
    ("policy", "first"), [("tempfail", "T451 4.3.0 "), ("mark", "HX-Defang-Unchecked some"), ("ignore", "F")]
)
def test_check_that_found_something_but_could_not_tell_of_all_has_its_policy_applied(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture, policy: str, first: str
) -> None:
    with caplog.at_level(logging.INFO):
        (line, *_) = _scan(load_filter, workdir, FIND.format(policy=policy))
    assert line.startswith(first)
    assert any(line.endswith(": Virus (not all could be checked: refused)") for line in caplog.messages)


def test_filter_may_refuse_what_was_found_though_not_all_could_be_checked(
    load_filter: LoadFilter, workdir: Path
) -> None:
    body = FIND.format(policy="tempfail") + '        message.reject("virus")\n'
    assert _scan(load_filter, workdir, body) == ["B554 5.7.1 virus", "F"]


def test_verdict_of_the_filter_goes_before_the_deferral(load_filter: LoadFilter, workdir: Path) -> None:
    assert _scan(load_filter, workdir, RUN + '        message.reject("virus")\n') == ["B554 5.7.1 virus", "F"]


def test_deferral_does_not_take_the_place_of_a_verdict(load_filter: LoadFilter, workdir: Path) -> None:
    body = 'def filter_begin(message):\n        message.reject("virus")\n        message.run_checks(bad)\n'
    assert _scan(load_filter, workdir, "    " + body) == ["B554 5.7.1 virus", "F"]


def test_deferred_message_is_not_replaced_by_copies(load_filter: LoadFilter, workdir: Path) -> None:
    commands = workdir / "COMMANDS"
    commands.write_bytes(commands.read_bytes().replace(b"\nUlunch", b"\nR<c@example.net> local ? c\nUlunch"))
    assert _scan(load_filter, workdir, RUN + "        assert not message.stream_by_domain()\n")[0].startswith("T451")


def test_checks_of_the_settings_run_if_none_is_named(load_filter: LoadFilter, workdir: Path) -> None:
    body = "    def filter_begin(message):\n        assert message.run_checks().found[0].check == 'declared'\n"
    assert _scan(load_filter, workdir, body) == ["F"]


def test_envelope_of_a_message_has_the_budget_of_the_settings(load_filter: LoadFilter, workdir: Path) -> None:
    body = """
    patient = FakeCheck("patient", timeout_s=100)

    def filter_begin(message):
        import time
        message.envelope.run_checks(patient)
        assert patient.deadlines[0].at - time.monotonic() <= 30
    """
    assert _scan(load_filter, workdir, body) == ["F"]


def test_results_stand_in_the_record(load_filter: LoadFilter, workdir: Path) -> None:
    site = load_filter(FILTER.format(policy="mark") + RUN)
    make_worker(site).answer(f"scan Q1 {workdir}".encode())
    ((_, line),) = site.effects.lines  # type: ignore[attr-defined]  # they are recorded
    told = json.loads(line)["scanners"]
    assert [one.pop("elapsed_ms") >= 0 for one in told] == [True, True]
    assert told == [
        {"check": "good", "outcome": "not-found", "detail": "as told"},
        {"check": "bad", "outcome": "unknown", "detail": "refused"},
    ]


def test_time_in_the_queue_counts(load_filter: LoadFilter, workdir: Path) -> None:
    body = """
    def filter_begin(message):
        import time
        message.run_checks(good)
        assert good.deadlines[0].at - time.monotonic() <= 10
    """
    early = time.time() - 20
    os.utime(workdir / "COMMANDS", (early, early))
    assert _scan(load_filter, workdir, body) == ["F"]


def test_all_checks_of_a_message_share_one_budget(load_filter: LoadFilter, workdir: Path) -> None:
    body = """
    def filter_begin(message):
        for check in (good, FakeCheck("other", timeout_s=1000), FakeCheck("third", timeout_s=1000)):
            check.timeout_s = 1000
            message.run_checks(check)
            message.scratch.setdefault("ends", set()).add(check.deadlines[0].at)
        assert len(message.scratch["ends"]) == 1
    """
    assert _scan(load_filter, workdir, body) == ["F"]


@pytest.mark.parametrize("policy", ["mark", "ignore"])
def test_client_passes_if_the_policy_says_so(load_filter: LoadFilter, policy: str) -> None:
    body = "    def filter_relay(connection):\n        assert len(connection.run_checks(good, bad)) == 2\n"
    site = load_filter(FILTER.format(policy=policy) + body)
    assert make_worker(site).answer(RELAY).startswith(b"ok 1 ")


def test_client_is_deferred_whatever_the_callback_would_say(
    load_filter: LoadFilter, caplog: pytest.LogCaptureFixture
) -> None:
    body = "    def filter_relay(connection):\n        connection.run_checks(bad)\n        return Response.ok()\n"
    site = load_filter(FILTER.format(policy="tempfail") + body)
    assert make_worker(site).answer(RELAY).startswith(b"ok -1 Could%20not%20be%20checked%20now%20(bad)")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("policy", "answer", "left"), [("mark", b"ok 1 ", "HX-Defang-Unchecked bad"), ("tempfail", b"ok -1 ", "")]
)
def test_recipient_is_marked_or_deferred(
    load_filter: LoadFilter, workdir: Path, policy: str, answer: bytes, left: str
) -> None:
    body = "    def filter_recipient(envelope, recipient):\n        envelope.run_checks(bad, good)\n"
    site = load_filter(FILTER.format(policy=policy) + body)
    request = f"recipok <bob@example.org> <a@example.com> 192.0.2.7 host <bob@example.org> helo {workdir} Q1 ? ? ?"
    assert make_worker(site).answer(request.encode()).startswith(answer)
    written = workdir / "RESULTS"
    assert (written.read_text().strip() if written.exists() else "") == left


def test_every_public_name_is_found_where_it_lives() -> None:
    assert sorted(checks._HOMES) == sorted(checks.__all__)
    for name in checks.__all__:
        assert getattr(checks, name).__name__ == name
    with pytest.raises(AttributeError):
        checks.Nothing  # noqa: B018  # the access is what is tried


def test_worker_without_checks_loads_nothing_of_them() -> None:
    program = (
        "import sys, defang_worker.__main__, defang_worker.scan\n"
        "print([name for name in sys.modules if name.startswith('defang_worker.checks')])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"
