# SPDX-License-Identifier: GPL-3.0-or-later
"""HEADERS and PRISTINE_HEADERS through real programs: spared where nobody needs them, found by whoever does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.daemons import MX_CTRL, OUR_PROGRAMS, Chain, Daemons, Origin, private_home, running
from tests.support.mta import Milter, Verdict
from tests.system.interop.told import ANSWER_LIMIT_S

pytestmark = pytest.mark.system

# Both tell which of the two files they see.
FILTER = """
from defang_worker import Filter

class Site(Filter):
    def filter_wrapup(self, message):
        found = sorted(path.name for path in message.envelope.workdir.iterdir() if path.name.endswith("HEADERS"))
        message.headers.add("X-Found", " ".join(["ours", *found]))
"""
PERL_FILTER = """
sub filter_wrapup { action_add_header('X-Found', join(' ', 'theirs', sort(glob('*HEADERS')))); }
1;
"""
SPARED, FOUND = "ours", "ours HEADERS PRISTINE_HEADERS"
MESSAGE = b"Subject: header files\r\n\r\ntext\r\n"


def chain(home: Path, *, mux: Origin = Origin.OURS, options: tuple[str, ...] = ()) -> Chain:
    (home / "site.py").write_text(FILTER)
    return Chain(filter=home / "site.py", mux=mux, milter_options=options)


def found(daemons: Daemons, serial: int) -> str:
    """Which files the filter saw of one message."""
    with Milter(daemons.milter_address, timeout_s=ANSWER_LIMIT_S) as milter:
        outcome = milter.send(MESSAGE, queue_id=b"H%d" % serial)
    assert outcome.verdict is Verdict.ACCEPT
    assert outcome.message is not None
    (value,) = (header.value for header in outcome.message.headers if header.name == b"X-Found")
    return value.decode()


def test_they_are_spared_in_a_chain_of_ours() -> None:
    with private_home("headers-") as home, running(chain(home), home=home) as daemons:
        # Before the first one nobody was asked.
        assert [found(daemons, serial) for serial in range(3)] == [FOUND, SPARED, SPARED]


def test_they_are_always_there_if_so_set() -> None:
    always = ("--always-header-files",)
    with private_home("headers-") as home, running(chain(home, options=always), home=home) as daemons:
        assert [found(daemons, serial) for serial in range(3)] == [FOUND] * 3


def test_they_are_always_there_for_an_original_multiplexor() -> None:
    with private_home("headers-") as home, running(chain(home, mux=Origin.DEBIAN), home=home) as daemons:
        assert [found(daemons, serial) for serial in range(3)] == [FOUND] * 3


def test_an_original_multiplexor_that_takes_the_place_of_ours_finds_them() -> None:
    with private_home("headers-") as home, running(chain(home), home=home) as daemons:
        assert [found(daemons, serial) for serial in range(2)] == [FOUND, SPARED]
        assert daemons.mux is not None
        daemons.mux.stop()
        daemons.chain = chain(home, mux=Origin.DEBIAN)
        daemons.start_mux()
        assert found(daemons, 2) == FOUND


def test_an_original_worker_that_takes_the_place_of_ours_finds_them() -> None:
    """The multiplexor stays, and has said that its workers need none."""
    with private_home("headers-") as home:
        ours = chain(home)
        (home / "site.pl").write_text(PERL_FILTER)
        worker = home / "worker"
        worker.write_text(
            f"#!/bin/sh\nif [ -e {home}/theirs ]; then exec /usr/bin/mimedefang.pl -f {home}/site.pl -server; fi\n"
            f"exec {OUR_PROGRAMS}/defang-worker -f {home}/site.py -server\n"
        )
        worker.chmod(0o755)
        with running(Chain(filter=ours.filter, mux_options=("-x", "1", "--start", "exec")), home=home) as daemons:
            assert daemons.mux is not None
            daemons.mux.stop()
            daemons.start_mux(worker=worker)
            assert [found(daemons, serial) for serial in range(3)] == [FOUND, SPARED, SPARED]
            (home / "theirs").touch()
            reread: list[str | Path] = [MX_CTRL[Origin.OURS], "-s", daemons.mux_socket, "reread"]
            subprocess.run(reread, check=True, capture_output=True, timeout=30)
            theirs = FOUND.replace("ours", "theirs")
            assert [found(daemons, serial) for serial in range(3, 6)] == [theirs] * 3
            assert "temporary failure" not in daemons.logs()
