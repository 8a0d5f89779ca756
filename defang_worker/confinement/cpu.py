# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time of a request: over it, SIGXCPU ends the worker, with its stack in the log (`stacks`)."""

from __future__ import annotations

import resource
import sys
from time import clock_gettime, process_time
from typing import Final

# Linux' clock of what a process has used by its ticks (MAKE_PROCESS_CPUCLOCK of itself, CPUCLOCK_PROF). The limit goes
# by that, and on a busy machine it has run a quarter faster than the exact clock.
_BY_TICKS: Final = -8


def used_s() -> float:
    """Seconds of CPU time that this process has used, as the limit counts them."""
    return clock_gettime(_BY_TICKS) if sys.platform == "linux" else process_time()


def allow(limit_s: int) -> None:
    """Lets this process use so many seconds from now on, or as many as the system lets it."""
    # The kernel counts from the process's start and in whole seconds; rounded up, nobody gets less.
    most = int(used_s()) + 1 + limit_s
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))
