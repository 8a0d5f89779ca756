# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker that dies or hangs leaves on standard error, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import wait_until

LIMIT_S = 60
PROGRAM = """
import os, signal, sys
from defang_worker import stacks
stacks.write_when_it_ends()
def the_culprit():
    {action}
the_culprit()
"""


def program(action: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(action=action)]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGXCPU])
def test_signal_that_ends_a_worker_leaves_its_stack(number: signal.Signals) -> None:
    done = subprocess.run(
        program(f"os.kill(os.getpid(), {number:d})"), stderr=subprocess.PIPE, timeout=LIMIT_S, check=False, cwd=Path()
    )
    assert b"in the_culprit" in done.stderr
    assert done.returncode == -number


def test_worker_that_hangs_shows_its_stack_on_request_and_goes_on(tmp_path: Path) -> None:
    log, ready = tmp_path / "log", tmp_path / "ready"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            program(f"open({str(ready)!r}, 'w').close(); sys.stdin.read()"), stdin=subprocess.PIPE, stderr=stderr
        ) as worker,
    ):
        try:
            wait_until(ready.exists, "the program runs")
            worker.send_signal(signal.SIGUSR2)
            wait_until(lambda: "in the_culprit" in log.read_text(), "the stack is written")
            assert worker.poll() is None
            assert worker.stdin is not None
            worker.stdin.close()
            assert worker.wait(LIMIT_S) == 0
        finally:
            worker.kill()
