# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU time of a request: over it, SIGXCPU ends the worker, with its stack in the log (`stacks`)."""

from __future__ import annotations

import resource
from time import process_time


def allow(limit_s: int) -> None:
    """Lets this process use so many seconds from now on, or as many as the system lets it."""
    # The kernel counts from the process's start and in whole seconds; rounded up, nobody gets less.
    most = int(process_time()) + 1 + limit_s
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))
