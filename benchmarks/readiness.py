# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes until a worker serves: one that a template forks, and one that is started as a program.

From the order to the answer to a first `ping`; the two in turn, so that what else the machine does hits both alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.contestants import FILTERS
from benchmarks.report import Readiness
from defang_common.wire import template as wire
from tests.support.process import ProgramError
from tests.support.template import WAIT_S, fork, hear, template

_FILTER = FILTERS / "filter.py"
_QUESTION, _ANSWER = b"ping\n", b"PONG\n"


def measured(times: int) -> Readiness:
    """So many starts of each kind. ProgramError if the template forks no workers."""
    forked_s, executed_s = [], []
    with template(_FILTER) as (control, _):
        if (said := [hear(control), hear(control)]) != [wire.Hello(), wire.Ready()]:
            raise ProgramError(f"the template says {said}")
        for number in range(times):
            begun = time.perf_counter()
            _, stdin, stdout = fork(control, number)
            os.write(stdin, _QUESTION)
            _check(os.read(stdout, len(_ANSWER)))
            forked_s.append(time.perf_counter() - begun)
            os.close(stdin)
            os.close(stdout)
            executed_s.append(_executed_s())
    return Readiness(forked_s=tuple(forked_s), executed_s=tuple(executed_s))


def _executed_s() -> float:
    begun = time.perf_counter()
    argv = [sys.executable, "-m", "defang_worker", "-f", str(_FILTER), "-server"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(_QUESTION)
        _check(worker.stdout.read(len(_ANSWER)) or b"")
        taken_s = time.perf_counter() - begun
        worker.stdin.close()
        worker.wait(WAIT_S)
    return taken_s


def _check(answer: bytes) -> None:
    if answer != _ANSWER:
        raise ProgramError(f"a worker answers {answer!r} to a ping")
