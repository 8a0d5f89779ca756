# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker confines itself, before the filter's `on_start`: what is asked of it, and what it needs all the same."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from defang_worker.confinement import landlock, seccomp

if TYPE_CHECKING:
    from defang_common.wire.confinement import Confinement
    from defang_worker.api.hooks import SiteFilter
    from defang_worker.api.settings import Settings

_log: Final = logging.getLogger("defang.worker")

# Where programs, libraries, settings, databases and the addresses of services are; who may read what there is a matter
# of permissions. Homes, mail boxes and mounted disks are not among them.
_READABLE: Final = (
    "/bin", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/cache",
    "/var/db", "/var/lib", "/var/run",
)  # fmt: skip


def confine(asked: Confinement, site: SiteFilter) -> None:
    """Does what is asked, as far as the kernel can; raises OSError where it can and does not."""
    if asked.writable is not None and (version := landlock.version()):
        landlock.confine(readable=_read_by(site), writable=_written(asked.writable, site.settings), has=version)
    if asked.deny_calls and (own := seccomp.architecture()):
        seccomp.deny(own)


def tell_what_is_missing(asked: Confinement, site: SiteFilter) -> None:
    """A line in the log for each place that nothing can be written to; once is enough for workers that are alike."""
    if asked.writable is not None and landlock.version():
        for path in _written(asked.writable, site.settings):
            if not os.path.exists(path):  # noqa: PTH110
                _log.warning("Landlock: %s is not there, so nothing can be written to it", path)


def _read_by(site: SiteFilter) -> list[str]:
    """The interpreter and what modules come from; the filter and its neighbours."""
    ours = [sys.prefix, sys.base_prefix, *(path for path in sys.path if path)]
    filters = [os.path.dirname(os.path.realpath(site.path))] if os.path.exists(site.path) else []  # noqa: PTH110, PTH120
    return list(dict.fromkeys((*_READABLE, *ours, *filters)))


def _written(asked: tuple[str, ...], settings: Settings) -> list[str]:
    """What is asked for, what the filter's settings name, and the place of temporary files."""
    logs = [os.path.dirname(name) for name in (settings.event_log, settings.record_log) if name.startswith("/")]  # noqa: PTH120
    return list(dict.fromkeys((*asked, settings.quarantine_dir, *logs, tempfile.gettempdir())))
