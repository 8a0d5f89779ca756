# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits on a worker of any program, set from outside as soon as it has started.

By prlimit, for posix_spawn has no way to set them between fork and exec, and our own are not to change. Linux only.
"""

import resource
from dataclasses import dataclass

AVAILABLE = hasattr(resource, "prlimit")
"""Whether the system can do it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """0 sets none. `resident_bytes` is kept by few systems (Linux took it out in 2.4.30)."""

    total_bytes: int = 0
    resident_bytes: int = 0
    open_files: int = 0
    file_bytes: int = 0

    def described(self) -> tuple[tuple[str, int], ...]:
        """Each by its name in reports."""
        return (
            ("memory-bytes", self.total_bytes),
            ("resident-bytes", self.resident_bytes),
            ("open-files", self.open_files),
            ("file-bytes", self.file_bytes),
        )

    def apply(self, pid: int) -> None:
        """Sets them for a process; OSError if that cannot be."""
        if self.total_bytes:
            _limit(pid, resource.RLIMIT_AS, self.total_bytes)
            _limit(pid, resource.RLIMIT_DATA, self.total_bytes)
        if self.resident_bytes:
            _limit(pid, resource.RLIMIT_RSS, self.resident_bytes)
        if self.open_files:
            _limit(pid, resource.RLIMIT_NOFILE, self.open_files)
        if self.file_bytes:
            _limit(pid, resource.RLIMIT_FSIZE, self.file_bytes)


NO_LIMITS = WorkerLimits()


def _limit(pid: int, kind: int, most: int) -> None:
    _, hard = resource.prlimit(pid, kind)
    # Only root may raise the hard limit.
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.prlimit(pid, kind, (most, most))
