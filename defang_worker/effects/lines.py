# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for logs of a site's own: event lines and records, to a file or to the system log.

What cannot be written is told in the worker's log and is no reason to defer a message; nor is a system logger that
hangs, for whom lines wait in a thread. A file is opened for each line, so that it may be rotated at any time, and each
line is one write, so that workers do not mix theirs.
"""

from __future__ import annotations

import atexit
import logging
import os
import syslog
from functools import cache
from typing import Final

from defang_common.host.log_outlet import Outlet
from defang_common.host.logs import facility_number

_log: Final = logging.getLogger("defang.worker")

SYSLOG: Final = "syslog:"
"""How a target begins that is a facility of the system log; any other one is a file's path."""

_TAG: Final = "defang-worker"
# What the umask leaves of it.
_FILE_MODE: Final = 0o640


def check_target(setting: str, target: str) -> None:
    """Raises ValueError, which names the setting, for what is neither a path nor a facility."""
    if target.startswith(SYSLOG):
        facility_number(target.removeprefix(SYSLOG))
    elif not target.startswith("/"):
        raise ValueError(f"{setting} is to be an absolute path or syslog:FACILITY, not {target!r}")


def append(target: str, line: str) -> None:
    """Writes the line, which has no line end, at the target's end."""
    if target.startswith(SYSLOG):
        _system_log().put((facility_number(target.removeprefix(SYSLOG)), line), len(line))
        return
    data = line.encode("utf-8", "surrogateescape") + b"\n"
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        try:
            if os.write(descriptor, data) != len(data):
                _log.error("%s: a line is not complete: the disk is full", target)
        finally:
            os.close(descriptor)
    except OSError as fault:
        _log.error("a line is not logged: %s", fault)


@cache
def _system_log() -> Outlet[tuple[int, str]]:
    """Made for the first line, in the worker that has it: a thread would not outlive a fork."""
    outlet = Outlet(_write_to_system_log, lambda count: (syslog.LOG_MAIL, f"{count} lines lost: the log hung"))
    atexit.register(outlet.flush)
    return outlet


def _write_to_system_log(entry: tuple[int, str]) -> None:
    facility, line = entry
    syslog.openlog(_TAG, syslog.LOG_PID, facility)
    syslog.syslog(syslog.LOG_INFO, line.replace("\0", " "))
