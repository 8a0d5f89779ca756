# SPDX-License-Identifier: GPL-3.0-or-later
"""A message that kills its worker, and one on which the filter hangs, through the whole chain."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import MX_CTRL, OUR_PROGRAMS, Chain, Daemons, Origin, private_home, running
from tests.support.mta import Milter, send

pytestmark = pytest.mark.system

LIMIT_S = 60
FILTER = """
import ctypes, time
from defang_worker import Filter

def touch_nothing():
    ctypes.string_at(0)

def wait_for_nothing():
    time.sleep(600)

class Site(Filter):
    def filter_begin(self, message):
        if message.envelope.sender.bare == "replay@example.com":
            message.reject(f"for {message.envelope.recipients}")
        elif "deadly" in message.subject:
            touch_nothing()
        elif "endless" in message.subject:
            wait_for_nothing()
"""


def mail(subject: str) -> bytes:
    return f"From: a@example.com\r\nSubject: {subject}\r\n\r\nHello\r\n".encode()


@pytest.fixture
def daemons(request: pytest.FixtureRequest) -> Iterator[Daemons]:
    with private_home("poison-") as home:
        source = home / "site.py"
        source.write_text(FILTER)
        options = ("-m", "1", "-x", "3", "-b", "10", "-l", "--poison", getattr(request, "param", "tempfail"))
        with running(Chain(filter=source, mux_options=options), home=home) as daemons:
            yield daemons


def bundles(daemons: Daemons) -> list[Path]:
    return sorted((daemons.spool / "poison").iterdir())


@pytest.mark.parametrize("daemons", ["tempfail", "quarantine", "reject"], indirect=True)
def test_third_worker_is_not_given(daemons: Daemons) -> None:
    for _ in range(2):
        outcome = send(daemons.milter_address, mail("deadly"))
        assert outcome.code == 451
        assert send(daemons.milter_address, mail("harmless")).delivered
    before = daemons.logs()
    assert before.count("ended by signal 11 (WORKER DIED UNEXPECTEDLY)") == 2
    assert before.count("in touch_nothing") == 2

    outcome = send(daemons.milter_address, mail("deadly"))
    match daemons.chain.mux_options[-1]:
        case "tempfail":
            assert (outcome.code, "postmaster has a copy" in str(outcome.reply)) == (451, True)
        case "reject":
            assert (outcome.code, "cannot be filtered" in str(outcome.reply)) == (554, True)
        case _:
            assert [type(change).__name__ for change in outcome.changes[:1]] == ["Quarantine"]
            assert outcome.message is not None
            assert b"X-Defang-Warning: not scanned" in outcome.message.as_bytes()
    assert daemons.logs().count("WORKER DIED UNEXPECTEDLY") == 2
    assert send(daemons.milter_address, mail("harmless")).delivered

    (bundle,) = bundles(daemons)
    assert "in touch_nothing" in (bundle / "DEATHS").read_text()


def test_filter_that_hangs_shows_where(daemons: Daemons) -> None:
    assert daemons.mux is not None
    assert send(daemons.milter_address, mail("endless")).code == 451
    found = daemons.mux.wait_log(r"(\w+): Worker \d stderr:   File \"[^\"]+\", line \d+ in wait_for_nothing")
    assert f"{found[1]}: " in daemons.logs()
    (bundle,) = bundles(daemons)
    assert "did not answer in time" in (bundle / "DEATHS").read_text()
    assert "in wait_for_nothing" in (bundle / "DEATHS").read_text()


def test_bundle_can_be_replayed_with_its_envelope(daemons: Daemons) -> None:
    message = mail("deadly")
    send(daemons.milter_address, message, sender=b"<sender@site.example>", recipients=[b"<rcpt@site.example>"])
    (bundle,) = bundles(daemons)
    worker: list[str | Path] = [OUR_PROGRAMS / "defang-worker", "-f", daemons.home / "filter.py", "test-mail"]
    died = subprocess.run([*worker, bundle], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert died.returncode == -11
    assert "in touch_nothing" in died.stderr
    words = ["--json", "--from", "replay@example.com"]
    changed = subprocess.run([*worker, *words, bundle], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert "rcpt@site.example" in changed.stdout


def ctl(daemons: Daemons, *words: str) -> subprocess.CompletedProcess[str]:
    argv: list[str | Path] = [MX_CTRL[Origin.OURS], "-s", daemons.mux_socket, *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_postmaster_is_told_why_a_message_was_refused_and_monitors_what_is_wrong(daemons: Daemons) -> None:
    assert ctl(daemons, "health").returncode == 0
    with Milter(daemons.milter_address) as milter:
        assert milter.send(mail("hello"), sender=b"<replay@example.com>", queue_id=b"Q7").code == 554
        assert milter.send(mail("deadly"), queue_id=b"Q8").code == 451
    refused = ctl(daemons, "why", "Q7")
    assert " Q7 scan: answered" in refused.stdout
    assert "filter_begin: reject for " in refused.stdout
    lost = ctl(daemons, "why", "Q8").stdout
    assert " Q8 scan: failed: ERR No response from worker" in lost
    assert "in touch_nothing" in lost
    assert ctl(daemons, "why", "Q9").returncode == 1
    assert "Q7 scan: answered" in ctl(daemons, "slow").stdout
    health = ctl(daemons, "health")
    assert (health.returncode, health.stdout.startswith("warning: 1 requests lost with their worker")) == (1, True)
