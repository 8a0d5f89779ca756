# SPDX-License-Identifier: GPL-3.0-or-later
"""A real clamd with one signature of its own, that of the EICAR test file: nothing is downloaded.

It runs in the foreground as the user `clamav`, with socket, database and log in a directory of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemons import private_home
from tests.support.process import Program, free_port

# Taken apart, so that no scanner of the developer's takes this file for it.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
VIRUS_NAME = "Defang.Test.Eicar.UNOFFICIAL"
MAX_BYTES = 4 * 1024 * 1024
"""Its StreamMaxLength."""


@dataclass(frozen=True, slots=True)
class RealClamd:
    """Where it listens, and what it reads."""

    socket: str
    tcp: str
    config: Path
    database: Path


def write_database(directory: Path) -> Path:
    """A database with the one signature."""
    directory.mkdir()
    directory.chmod(0o755)
    (directory / "test.ndb").write_text(f"Defang.Test.Eicar:0:*:{EICAR.hex()}\n")
    return directory


@contextmanager
def running_clamd() -> Iterator[RealClamd]:
    """Starts it, and ends it."""
    with private_home("clamd-") as base:
        clamd = RealClamd(f"{base}/clamd.sock", f"127.0.0.1:{free_port()}", base / "clamd.conf", base / "db")
        write_database(clamd.database)
        clamd.config.write_text(
            f"LocalSocket {clamd.socket}\nLocalSocketMode 666\nTCPSocket {clamd.tcp.rpartition(':')[2]}\n"
            f"TCPAddr 127.0.0.1\nDatabaseDirectory {clamd.database}\nForeground true\nUser clamav\n"
            f"StreamMaxLength {MAX_BYTES}\nAlertExceedsMax yes\nMaxRecursion 10\n"
        )
        shutil.chown(base, "clamav")  # for its socket
        program = Program("clamd", ["/usr/sbin/clamd", "-c", clamd.config], log=base / "log")
        try:
            program.wait_ready(clamd.socket)
            yield clamd
        finally:
            program.stop()
