# SPDX-License-Identifier: GPL-3.0-or-later
"""defang-mux: from the command line to a running multiplexor, and its exit status."""

import logging
import os
import signal
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from defang_common import __version__
from defang_common.host import daemon, descriptors, memory
from defang_mux import command_line
from defang_mux import settings as options
from defang_mux.process import rlimits
from defang_mux.settings import Settings

Unread = Callable[[], str | None]

_log: Final = logging.getLogger("defang.mux")
_PROGRAM: Final = "defang-mux"
# A worker's pipes, the other ends of them while it starts, and its client. Beside workers and queue: sockets, the
# template, questions that are being asked.
_DESCRIPTORS_OF_A_WORKER: Final = 9
_OTHER_DESCRIPTORS: Final = 256


def main(argv: list[str] | None = None) -> int:
    """Starts the daemon; 0 when it serves (or has served, in the foreground), 1 for an error."""
    try:
        return _obey(command_line.parse(sys.argv[1:] if argv is None else argv))
    except command_line.UsageError as error:
        sys.stderr.write(f"{options.USAGE}{_PROGRAM}: {error}\n")
        return 1


def _obey(parsed: command_line.Parsed | Literal["help", "version"]) -> int:
    if parsed == "help":
        sys.stdout.write(options.usage())
        return 0
    if parsed == "version":
        sys.stdout.write(f"{_PROGRAM} version {__version__}\n")
        return 0
    settings, notes, print_config, file = parsed
    for note in notes:
        sys.stderr.write(f"{_PROGRAM}: {note}\n")
    if print_config:
        sys.stdout.write(command_line.as_config(settings))
        return 0
    try:
        return _run(settings, partial(command_line.unread, file) if file is not None else _nothing_unread)
    except daemon.StartFailed as error:
        sys.stderr.write(f"{_PROGRAM}: {error}\n")
        return 1


def _nothing_unread() -> None:
    """Without a file."""


def _run(settings: Settings, unread: Unread) -> int:
    if not os.access(settings.worker, os.X_OK):
        raise daemon.StartFailed(f"worker program {settings.worker} is not there, or not executable")
    limits = (
        settings.memory_limit_kb,
        settings.resident_limit_kb,
        settings.open_files_limit,
        settings.file_size_limit_kb,
    )
    if any(limits) and not rlimits.AVAILABLE:
        raise daemon.StartFailed(
            "this system cannot limit a process that runs: leave -M, -R, --open-files-limit and --file-size-limit out"
        )
    if settings.metrics is not None and find_spec("prometheus_client") is None:
        raise daemon.StartFailed("--metrics needs the package prometheus-client: make install EXTRAS=metrics")
    return daemon.run(
        daemon.DaemonSettings(
            label=settings.label,
            user=settings.user,
            spool=settings.spool,
            pid_file=settings.pid_file,
            lock_file=settings.lock_file,
            foreground=settings.foreground,
            group_access=settings.group_access,
            facility=settings.facility,
            log_to=settings.log_to,
            log_format=settings.log_format,
        ),
        lambda ready: _serve(settings, ready, unread),
    )


def _check_filter(path: Path) -> None:
    """Raises StartFailed if our user cannot read the file; what stands in it is the worker's business."""
    try:
        # Not to wait for whoever writes to a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise daemon.StartFailed(f"filter {path}: {error.strerror}") from None
    is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    if is_directory:
        raise daemon.StartFailed(f"filter {path} is a directory")


def _serve(settings: Settings, ready: Callable[[], None], unread: Unread) -> int:
    if settings.rules is not None:
        _check_filter(settings.rules)
    # After the daemon has detached: its parent has no use for an event loop.
    import trio  # noqa: PLC0415

    from defang_mux.process.protections import give_up  # noqa: PLC0415
    from defang_mux.process.spawn import keep_from_workers  # noqa: PLC0415
    from defang_mux.process.starter import become_subreaper  # noqa: PLC0415
    from defang_mux.supervisor import confinement, supervise, worker_limits  # noqa: PLC0415

    keep_from_workers()
    descriptors.allow(_OTHER_DESCRIPTORS + settings.queue_size + _DESCRIPTORS_OF_A_WORKER * settings.max_workers)
    if not become_subreaper():
        if settings.start == "fork":
            raise daemon.StartFailed("--start=fork: this system cannot make forked workers our children")
        settings = replace(settings, start="exec")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    protections = give_up(
        no_new_privileges=settings.no_new_privileges, limits=worker_limits(settings), asked=confinement(settings)
    )
    for protection in protections:
        if protection.is_missing:
            _log.warning("protection of workers: %s %s", protection.name, protection.state)
    memory.give_back()
    return trio.run(supervise, settings, ready, protections, unread)


if __name__ == "__main__":
    sys.exit(main())
