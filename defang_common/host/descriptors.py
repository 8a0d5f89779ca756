# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit on open files of a daemon, which must not be what refuses mail. Called by both daemons at their start."""

import resource
from contextlib import suppress


def allow(count: int) -> None:
    """Raises our soft limit to `count` descriptors, or as far as the hard limit lets us; never lowers it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(hard, count)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
