# SPDX-License-Identifier: GPL-3.0-or-later
"""RESULTS on the answer through real programs: where all three are ours, and the file wherever one of them is not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.support.daemons import OUR_PROGRAMS, Chain, Daemons, Origin, private_home, running
from tests.support.mta import Milter, Verdict
from tests.system.interop.told import ANSWER_LIMIT_S

pytestmark = pytest.mark.system

FILTER = """
from defang_worker import Filter

class Site(Filter):
    def filter_sender(self, envelope):
        if envelope.sender.bare == "checked@example.com":
            envelope.headers.add("X-Check", "yes")
    def filter_wrapup(self, message):
        message.headers.add("X-Size", "x" * int(message.subject))
"""
MAX_SHORT, LONG = 3000, 3100


def added(daemons: Daemons, serial: int, size: int, sender: bytes = b"<a@example.com>") -> dict[bytes, int]:
    """Which fields a message got, and how long they are; the filter's has the size."""
    with Milter(daemons.milter_address, timeout_s=ANSWER_LIMIT_S) as milter:
        outcome = milter.send(b"Subject: %d\r\n\r\ntext\r\n" % size, queue_id=b"R%d" % serial, sender=sender)
    assert outcome.verdict is Verdict.ACCEPT
    assert outcome.message is not None
    return {header.name: len(header.value) for header in outcome.message.headers if header.name.startswith(b"X-")}


def listened_to(home: Path, mux: Origin = Origin.OURS, milter: Origin = Origin.OURS) -> tuple[Chain, Path, Path]:
    """A chain with our worker, the program that starts that, and the file in which all its answers are kept."""
    (home / "site.py").write_text(FILTER)
    answers = home / "answers"
    answers.touch()
    answers.chmod(0o666)
    worker = home / "worker"
    serve = shlex.join([f"{OUR_PROGRAMS}/defang-worker", "-f", f"{home}/site.py", "-server"])
    worker.write_text(f"#!/bin/sh\n{serve} | tee -a {shlex.quote(str(answers))}\n")
    worker.chmod(0o755)
    start = ("--start", "exec") if mux is Origin.OURS else ()
    options = ("-x", "1", *start)
    chain = Chain(
        filter=home / "site.py", mux=mux, milter=milter, mux_options=options, milter_options=("-s", "-X", "-q")
    )
    return chain, worker, answers


def scans(answers: Path) -> list[bytes]:
    """The answers to scans: what comes first of each, without results."""
    lines = answers.read_bytes().splitlines()
    return [line[:4] for line in lines if line == b"ok" or line.startswith(b"ok '")]


def test_short_results_are_on_the_answer_and_others_in_the_file() -> None:
    with private_home("results-") as home:
        chain, worker, answers = listened_to(home)
        with running(chain, home=home) as daemons:
            assert daemons.mux is not None
            daemons.mux.stop()
            daemons.start_mux(worker=worker)
            assert added(daemons, 1, 5) == {b"X-Size": 5}
            assert added(daemons, 2, MAX_SHORT) == {b"X-Size": MAX_SHORT}
            assert added(daemons, 3, LONG) == {b"X-Size": LONG}
            assert added(daemons, 4, 5, b"<checked@example.com>") == {b"X-Check": 3, b"X-Size": 5}
            assert added(daemons, 5, 5) == {b"X-Size": 5}
            assert daemons.work_dirs() == []
            assert "temporary failure" not in daemons.logs()
        assert scans(answers) == [b"ok '", b"ok '", b"ok", b"ok '", b"ok '"]


@pytest.mark.parametrize(("mux", "milter"), [(Origin.DEBIAN, Origin.OURS), (Origin.OURS, Origin.DEBIAN)])
def test_an_original_multiplexor_or_front_end_finds_the_file(mux: Origin, milter: Origin) -> None:
    with private_home("results-") as home:
        chain, worker, answers = listened_to(home, mux, milter)
        with running(chain, home=home) as daemons:
            assert daemons.mux is not None
            daemons.mux.stop()
            daemons.start_mux(worker=worker)
            for serial in range(2):
                assert added(daemons, serial, 5) == {b"X-Size": 5}
        assert scans(answers) == [b"ok"] * 2
