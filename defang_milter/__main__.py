# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `defang-milter`: arguments to settings to a daemon."""

import logging
import os
import sys

import milter

from defang_common.host import daemon, descriptors
from defang_milter import listener, memory
from defang_milter.command_line import parse
from defang_milter.settings import PROGRAM, Settings

# Connections, requests and large messages take up to three descriptors a session.
_MAX_DESCRIPTORS = 65_536


def _print_abilities() -> None:
    major, minor, patch = milter.getversion()
    print(f"libmilter {major}.{minor}.{patch}, interface version {milter.VERSION:#x}")  # noqa: T201
    for action in ("ADDHDRS", "CHGBODY", "ADDRCPT", "DELRCPT", "CHGHDRS", "QUARANTINE", "CHGFROM", "SETSYMLIST"):
        print(f"{action:12} {'yes' if getattr(milter, action) & milter.CURR_ACTS else 'no'}")  # noqa: T201


def _run(settings: Settings) -> int:
    descriptors.allow(_MAX_DESCRIPTORS)
    memory.keep_freed_memory()
    how = daemon.DaemonSettings(
        label=PROGRAM,
        user=settings.user,
        spool=settings.spool,
        pid_file=settings.pid_file,
        lock_file=settings.lock_file,
        foreground=settings.foreground,
        group_access=settings.group_access,
        facility=settings.facility,
        log_to=settings.log_to,
        log_format=settings.log_format,
    )
    try:
        return daemon.run(how, lambda ready: listener.serve(settings, ready))
    except daemon.StartFailed as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)  # noqa: T201
        return 1


def main() -> None:
    """Runs the command, and ends the process."""
    argv = sys.argv[1:]
    if argv == ["prcap"]:
        _print_abilities()
        return
    status = _run(parse(argv))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # libmilter's threads would call into an interpreter that is being taken down.
    os._exit(status)


if __name__ == "__main__":
    main()
