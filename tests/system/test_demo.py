# SPDX-License-Identifier: GPL-3.0-or-later
"""`make run`, as a newcomer types it: all samples get their outcome, and nothing is left behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent.parent
DEMO = [sys.executable, "-m", "demo"]
STOP_TIMEOUT_S = 60


@contextmanager
def _running_demo() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The demonstration after its samples, and what it has printed."""
    with subprocess.Popen(DEMO, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("  Logs"):
                    break
            yield process, "".join(lines)
        finally:
            # The way it cleans up after itself; without effect if it has ended already.
            process.send_signal(signal.SIGINT)
            process.wait(STOP_TIMEOUT_S)


def _children(pid: int) -> list[Path]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path("/proc", child) for child in children]


def test_every_sample_gets_its_outcome() -> None:
    run = subprocess.run([*DEMO, "--once"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "5 of 5 samples got the outcome that they should" in run.stdout
    assert "\x1b" not in run.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stays_until_it_is_told_to_stop_and_leaves_nothing_behind(number: signal.Signals) -> None:
    with _running_demo() as (process, output):
        children = _children(process.pid)
        spool = re.search(r"spool (/\S+)", output)
        assert spool is not None
        directory = Path(spool[1]).parent
        assert directory.is_dir()
        assert len(children) == 2
        process.send_signal(number)
        assert process.wait(STOP_TIMEOUT_S) == 0
        assert not directory.exists()
        assert not [child for child in children if child.exists()]


def test_it_tells_how_to_point_a_mail_server_at_it() -> None:
    with _running_demo() as (_, output):
        port = re.search(r"smtpd_milters = inet:127\.0\.0\.1:(\d+)", output)
        assert port is not None
        assert f"INPUT_MAIL_FILTER(`defang', `S=inet:{port[1]}@127.0.0.1, F=T" in output


def test_a_program_that_ends_by_itself_ends_the_demonstration_with_its_log() -> None:
    with _running_demo() as (process, _):
        # Children are listed in the order of their start: multiplexor, milter.
        subprocess.run(["kill", "-KILL", _children(process.pid)[1].name], check=True)
        assert process.stdout is not None
        rest = process.stdout.read()
        assert process.wait(STOP_TIMEOUT_S) == 1
        assert "ended with status -9" in rest
