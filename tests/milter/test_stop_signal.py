# SPDX-License-Identifier: GPL-3.0-or-later
"""Which thread gets a signal to stop; in a process of its own, which it may end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from defang_milter.stop_signal import STOP_SIGNALS

LIMIT_S = 60
TWO_SIGNALS = f"""
import os, signal, sys, threading
from defang_milter.stop_signal import STOP_SIGNALS, StopSignal

number = int(sys.argv[1])
taken = []
blocks = threading.Event()

def libmilters():
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    blocks.set()
    taken.append(signal.sigwait(STOP_SIGNALS))

def is_waiting(thread):
    "What a thread waits for it does not block meanwhile."
    with open(f"/proc/self/task/{{thread.native_id}}/status") as status:
        blocked = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
    return not blocked & 1 << number - 1

signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
with StopSignal() as stop:
    thread = threading.Thread(target=libmilters, daemon=True)
    thread.start()
    blocks.wait({LIMIT_S})
    while not is_waiting(thread):
        pass
    assert not stop.wait(0)
    os.kill(os.getpid(), number)
    assert stop.wait({LIMIT_S})
    assert not taken
os.kill(os.getpid(), number)
thread.join({LIMIT_S})
assert taken == [number]
"""


@pytest.mark.parametrize("number", sorted(STOP_SIGNALS))
def test_first_signal_is_the_main_threads_even_if_it_is_busy_and_the_second_one_libmilters(
    number: signal.Signals,
) -> None:
    argv = [sys.executable, "-c", TWO_SIGNALS, str(int(number))]
    done = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
