# SPDX-License-Identifier: GPL-3.0-or-later
"""From the command that was typed to a daemon that serves, and its end.

Order: open pid and lock file with the starter's rights, become the user, check the spool,
detach, lock, write the pid, log, serve. Meanwhile the starter waits for a word from the daemon, or
a supervisor of a daemon in the foreground (systemd) does.
Sockets and signals are the business of the `serve` that the caller hands in.
"""

import logging
import os
import pwd
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from defang_common.host import logs, notify
from defang_common.host.errors import StartFailed
from defang_common.host.run_files import RunFiles

if TYPE_CHECKING:
    from daemon import DaemonContext

__all__ = ["DaemonSettings", "Serve", "StartFailed", "run"]

Serve = Callable[[Callable[[], None]], int]
"""Serves until it is told to stop; calls its argument when its sockets accept connections; returns the exit status."""

_READY: Final = b"\0"
# What a pipe takes in one piece, so that the starter's one read gets the whole report.
_MAX_REPORT_BYTES: Final = 4096

_log: Final = logging.getLogger("defang.host")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """How the process is to live. Paths may be relative to where the command was typed.

    Without `lock_file` the pid file's name with ".lock" behind it is locked; with neither,
    nothing keeps a second instance from starting.
    """

    label: str
    user: str | None
    spool: Path
    pid_file: Path | None
    lock_file: Path | None
    foreground: bool
    group_access: bool
    facility: str
    log_to: Literal["auto"] | logs.Target
    log_format: logs.Form = "text"


def run(settings: DaemonSettings, serve: Serve) -> int:
    """Starts the daemon and returns the exit status, in the starting process 0 as soon as it serves.

    In the daemon itself (and in the foreground) it returns when `serve` does. Raises
    `StartFailed`, in the starting process, for all that goes wrong before the daemon is ready.
    """
    _fill_standard_descriptors()
    account = _account_to_become(settings.user)
    _check_facility(settings.facility)
    files = RunFiles(settings.pid_file, settings.lock_file, account)
    if settings.foreground:
        _prepare(settings, account)
        _tell_of_missing_logger(settings)
        return _serve(settings, files, serve, notify.ready)
    return _start_detached(settings, account, files, serve)


def _fill_standard_descriptors() -> None:
    """Makes descriptors 0 to 2 exist, else the next file opened would be taken for standard output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _account_to_become(user: str | None) -> pwd.struct_passwd | None:
    """The account to switch to, None if the process has the right one already."""
    me = os.geteuid()
    if os.getuid() != me or os.getgid() != os.getegid():
        raise StartFailed("will not run as a set-user-ID or set-group-ID program")
    if user is None:
        if me == 0:
            raise StartFailed("will not run as root: name another user with -U")
        return None
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise StartFailed(f"there is no user {user!r}") from None
    if account.pw_uid == 0:
        raise StartFailed(f"will not run as root, and {user!r} has root's user ID")
    if me == account.pw_uid:
        return None
    if me != 0:
        raise StartFailed(f"only root can start this as another user ({user!r})")
    return account


def _check_facility(name: str) -> None:
    try:
        logs.facility_number(name)
    except ValueError as error:
        raise StartFailed(str(error)) from None


def _umask(settings: DaemonSettings) -> int:
    return 0o027 if settings.group_access else 0o077


def _prepare(settings: DaemonSettings, account: pwd.struct_passwd | None) -> None:
    """Becomes the user, in the spool."""
    if account is not None:
        try:
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        except OSError as error:
            raise StartFailed(f"cannot become user {account.pw_name!r}: {error.strerror}") from None
    os.umask(_umask(settings))
    _enter_spool(settings.spool)


def _enter_spool(spool: Path) -> None:
    user = _user_name()
    try:
        mode = spool.stat().st_mode
        if not stat.S_ISDIR(mode):
            raise StartFailed(f"spool {spool} is not a directory")
        os.chdir(spool)
    except FileNotFoundError:
        raise StartFailed(f"spool {spool} does not exist") from None
    except OSError as error:
        raise StartFailed(f"user {user!r} cannot enter spool {spool}: {error.strerror}") from None
    if not os.access(".", os.R_OK | os.W_OK | os.X_OK):
        raise StartFailed(f"user {user!r} cannot read and write in spool {spool}")
    if mode & stat.S_IWOTH:
        raise StartFailed(f"every user can write in spool {spool}, and so change mail: chmod o-w it")


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _serve(settings: DaemonSettings, files: RunFiles, serve: Serve, announce: Callable[[], None]) -> int:
    """The daemon's life, in the process that it stays in."""
    announced = False

    def ready() -> None:
        nonlocal announced
        if not announced:
            announced = True
            announce()

    try:
        files.claim()
        logs.configure(
            label=settings.label, facility=settings.facility, target=_log_target(settings), form=settings.log_format
        )
        return serve(ready)
    except StartFailed as error:
        if not announced:
            raise
        _log.critical("%s", error)
    except Exception as error:
        _log.critical("stopped by an error", exc_info=True)
        if not announced:
            raise StartFailed(_describe(error)) from error
    finally:
        files.remove()
        if not announced:
            # What the starter is told, comes last.
            logs.flush()
    return 1


def _log_target(settings: DaemonSettings) -> logs.Target:
    if settings.log_to != "auto":
        return settings.log_to
    return "stderr" if settings.foreground else "syslog"


def _tell_of_missing_logger(settings: DaemonSettings) -> None:
    """A line for the starter, since the log would not tell; each further line is tried anew."""
    target = _log_target(settings)
    if target == "stderr":
        return
    name, path = ("system logger", logs.DEV_LOG) if target == "syslog" else ("journal", logs.JOURNAL)
    if reason := logs.missing_logger(path):
        sys.stderr.write(f"{settings.label}: no {name} ({reason}), log lines are lost until there is one\n")


def _describe(error: Exception) -> str:
    if isinstance(error, StartFailed):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def _start_detached(settings: DaemonSettings, account: pwd.struct_passwd | None, files: RunFiles, serve: Serve) -> int:
    # Imported here, for a program in the foreground does without it; and while we are the user whose file it is.
    import daemon  # noqa: PLC0415

    hear, tell = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(tell)
        _wait_until_ready(hear, child)
        _tell_of_missing_logger(settings)
        return 0
    os.close(hear)

    def report(text: bytes) -> None:
        # The starter may have been interrupted; that is no reason for the daemon to fail.
        try:
            os.write(tell, text[:_MAX_REPORT_BYTES])
        except OSError:
            _log.warning("nobody waits for the start any more")
        os.close(tell)

    try:
        _prepare(settings, account)
        _detach(daemon.DaemonContext, settings, [tell, *files.descriptors])
        return _serve(settings, files, serve, lambda: report(_READY))
    except Exception as error:  # noqa: BLE001  # told to the starter, which raises it
        report(_describe(error).encode(errors="backslashreplace"))
        return 1


def _detach(context: "type[DaemonContext]", settings: DaemonSettings, keep: list[int]) -> None:
    """Goes on as a grandchild in a session of its own, with no file open but `keep`."""
    # Files of our own for 0 to 2, else the daemon's children would find them closed: python-daemon's own /dev/null
    # lands on the right descriptor by itself, and is then closed at exec.
    with Path(os.devnull).open("r+b", buffering=0) as null:
        context(
            working_directory=".",
            umask=_umask(settings),
            detach_process=True,
            files_preserve=keep,
            stdin=null,
            stdout=null,
            stderr=sys.stderr if _log_target(settings) == "stderr" else null,
            signal_map={},
        ).open()


def _wait_until_ready(hear: int, child: int) -> None:
    """Returns when the daemon says that it serves; `StartFailed` with what it says else."""
    text = os.read(hear, _MAX_REPORT_BYTES)
    os.close(hear)
    os.waitpid(child, 0)
    if text != _READY:
        raise StartFailed(text.decode(errors="replace") or "the daemon ended before it was ready: see its log")
