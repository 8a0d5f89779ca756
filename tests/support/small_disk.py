# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system that a test can fill: small, in memory, mounted by root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Room for a few messages of the tests, and quickly filled.
SIZE_BYTES = 4 * 1024 * 1024


@contextmanager
def small_file_system(path: Path) -> Iterator[Path]:
    """One at `path`, which is made; gone at the end."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "defang-test", path], check=True)
    try:
        yield path
    finally:
        # Lazily: a process that should have ended is reported by `running`, and must not keep the directory as well.
        subprocess.run(["umount", "--lazy", path], check=True)


@contextmanager
def full(directory: Path, *, but_bytes: int = 0) -> Iterator[None]:
    """While inside, at most so many bytes can be written to the directory's file system."""
    filler = directory / "filler"
    room = os.statvfs(directory)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - but_bytes)
    try:
        yield
    finally:
        filler.unlink()
