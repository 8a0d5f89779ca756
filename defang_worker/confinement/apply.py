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
        wanted = dict.fromkeys((*asked.writable, *_written_to(site.settings)))
        missing = landlock.confine(readable=_read_by(site), writable=wanted, has=version)
        for path in missing:
            if path in wanted:
                _log.warning("Landlock: %s is not there, so nothing can be written to it", path)
    if asked.deny_calls and (own := seccomp.architecture()):
        seccomp.deny(own)


def _read_by(site: SiteFilter) -> list[str]:
    """The interpreter and what modules come from; the filter and its neighbours."""
    ours = [sys.prefix, sys.base_prefix, *(path for path in sys.path if path)]
    filters = [os.path.dirname(os.path.realpath(site.path))] if os.path.exists(site.path) else []  # noqa: PTH110, PTH120
    return list(dict.fromkeys((*_READABLE, *ours, *filters)))


def _written_to(settings: Settings) -> list[str]:
    """What the filter's settings name, and the place of temporary files."""
    logs = [os.path.dirname(name) for name in (settings.event_log, settings.record_log) if name.startswith("/")]  # noqa: PTH120
    return [settings.quarantine_dir, *logs, tempfile.gettempdir()]
