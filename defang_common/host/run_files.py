# SPDX-License-Identifier: GPL-3.0-or-later
"""Pid file and lock file of a daemon. Called by `daemon` alone."""

import contextlib
import fcntl
import os
import pwd
import stat
from pathlib import Path

from defang_common.host.errors import StartFailed


class RunFiles:
    """Pid file and lock file: opened by the starter, held and removed by the daemon.

    Both may lie where the daemon's user cannot create files (/run), or where that user could
    have laid a trap for root (the spool): hence opened early, and never through a link.
    Without `lock_path` the pid file's name with ".lock" behind it is locked.
    """

    __slots__ = ("_account", "_held", "_lock", "_lock_path", "_pid", "_pid_path")

    def __init__(self, pid_path: Path | None, lock_path: Path | None, account: pwd.struct_passwd | None) -> None:
        if lock_path is None and pid_path is not None:
            lock_path = pid_path.with_name(pid_path.name + ".lock")
        self._held = False
        self._account = account
        self._pid_path = pid_path and pid_path.absolute()
        self._lock_path = lock_path and lock_path.absolute()
        self._pid = _open_pid_file(self._pid_path) if self._pid_path else None
        self._lock = _open_lock(self._lock_path, account) if self._lock_path else None

    @property
    def descriptors(self) -> list[int]:
        """What must stay open while the process detaches."""
        return [descriptor for descriptor in (self._pid, self._lock) if descriptor is not None]

    def claim(self) -> None:
        """Locks and writes the pid. Raises `StartFailed`, having changed nothing, if another process runs.

        Called after the last fork: a child does not inherit this kind of lock.
        """
        if self._lock_path is not None:
            self._take_lock(self._lock_path)
        self._held = True
        for descriptor in self.descriptors:
            _overwrite(descriptor, b"%d\n" % os.getpid())

    def remove(self) -> None:
        """Removes what was claimed; where the user has no right to remove a file, it is left empty."""
        for descriptor, path in ((self._pid, self._pid_path), (self._lock, self._lock_path)):
            if not self._held or descriptor is None or path is None or not _is_at(descriptor, path):
                continue
            try:
                path.unlink()
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, 0)

    def _take_lock(self, path: Path) -> None:
        while self._lock is not None:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StartFailed(f"already running: {self._holder()} holds {path}") from None
            if _is_at(self._lock, path):
                return
            # An instance that was just ending removed the file between our opening and our locking it.
            os.close(self._lock)
            self._lock = _open_lock(path, self._account)

    def _holder(self) -> str:
        # A daemon of another make may hold the lock, and write its pid only to the pid file.
        for descriptor in (self._lock, self._pid):
            text = b"" if descriptor is None else os.pread(descriptor, 20, 0).strip()
            if text.isdigit():
                return f"process {int(text)}"
        return "another process"


def _open_pid_file(path: Path) -> int:
    # Other programs read it, whatever the umask of whoever starts us.
    umask = os.umask(0o022)
    try:
        return _plain_file(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), path)
    except OSError as error:
        raise StartFailed(f"cannot write pid file {path}: {error.strerror}") from None
    finally:
        os.umask(umask)


def _open_lock(path: Path, account: pwd.struct_passwd | None) -> int:
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            return _plain_file(os.open(path, os.O_RDWR | os.O_NOFOLLOW), path)
        if account is not None and os.geteuid() == 0:
            # The file is new and ours, so nobody else's file changes hands.
            os.fchown(descriptor, account.pw_uid, account.pw_gid)
    except OSError as error:
        raise StartFailed(f"cannot open lock file {path}: {error.strerror}") from None
    return descriptor


def _plain_file(descriptor: int, path: Path) -> int:
    """`descriptor`, if writing to it changes the file at `path` and nothing else; else `StartFailed`."""
    info = os.fstat(descriptor)
    if stat.S_ISREG(info.st_mode) and info.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise StartFailed(f"{path} is not a plain file with a single name: remove it")


def _overwrite(descriptor: int, content: bytes) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
    except OSError as error:
        raise StartFailed(f"cannot write pid or lock file: {error.strerror}") from None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
    except OSError:
        # Somewhere that the daemon's user cannot look; nor can it have been removed by an instance of ours.
        return True
