# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of large messages that are over, for `workdir` to write later ones into (protocol.md, Stock).

To write 5 MB into a file whose pages are there costs a quarter of what a new file and its removal do: a file system has
work with every block that comes and goes. The price is that such a file holds another message until it is cut; so it
lies outside of working directories until then, is nobody's but ours, and does not stay for long.
"""

import fcntl
import itertools
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from defang_common.wire import spool

_log: Final = logging.getLogger("defang.milter")

# More are in use at one time only while as many clients send large messages; these go on with new files.
MAX_FILES: Final = 4
# Larger messages are rare, and would hold much memory and disk.
MAX_FILE_BYTES: Final = 32 * 1024 * 1024
# What has to be free on the disk, so that it is not our stock for want of which a message is put off.
_MIN_FREE_BYTES: Final = 2 * MAX_FILES * MAX_FILE_BYTES
# For content of mail that is over to be on the disk; under load a file is wanted much sooner.
MAX_IDLE_S: Final = 5.0

# Both were measured, and leases are exact there. XFS writes what a cut leaves to the disk at once (xfs_setattr_size);
# what a network's file system knows of other hosts is unsure.
_FILE_SYSTEMS: Final = ("ext4", "tmpfs")
_MOUNTS: Final = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What tells a file from others, and what of it but the content would matter to a message that is written to it."""

    device: int
    inode: int
    mode: int
    links: int
    owner: int
    group: int
    size_bytes: int
    # Access lists are among them.
    attributes: tuple[str, ...]


def identity_of(file: int | str) -> Identity:
    """The identity of an open file, or of what stands at a path, be it a link. Raises OSError."""
    is_path = isinstance(file, str)
    of = os.stat(file, follow_symlinks=not is_path)  # noqa: PTH116  # a Path costs more than the call
    return Identity(
        device=of.st_dev,
        inode=of.st_ino,
        mode=of.st_mode,
        links=of.st_nlink,
        owner=of.st_uid,
        group=of.st_gid,
        size_bytes=of.st_size,
        attributes=tuple(os.listxattr(file, follow_symlinks=not is_path)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spare:
    path: str
    identity: Identity
    since_s: float


def _is_ours_alone(descriptor: int) -> bool:
    """Whether nobody else has the file open or mapped, in whatever process and by whatever name.

    That is the kernel's condition for a write lease (fcntl(2), F_SETLEASE): no other open file description of the file,
    one on its way to another process included. What it does not count has no access yet (O_PATH). Raises OSError.
    """
    # Who opens it in between has the kernel tell us; by the usual signal, SIGIO, that would end the process.
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


class Stock:
    """A few files in a directory of their own in the spool; any thread may call.

    A file is the stock's or one message's. Nothing here is an error for a message: what is not kept stays where it is,
    and what cannot be used again goes.
    """

    def __init__(self, directory: Path) -> None:
        self._spool = directory
        self._directory: str | None = None
        self._held = -1
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._spares: list[_Spare] = []
        self._is_closed = False

    def give(self, path: str, identity: Identity) -> bool:
        """Whether the file at `path` was taken away; nobody needs it any more, and `identity` is of what we wrote."""
        if identity.size_bytes > MAX_FILE_BYTES or identity.links != 1:
            return False
        try:
            with self._lock:
                if self._is_closed or len(self._spares) >= MAX_FILES or not self._has_room():
                    return False
                if identity_of(path) != identity:
                    return False
                place = f"{self._directory or self._begin()}/{next(self._numbers)}"
                os.rename(path, place)  # noqa: PTH104
                self._spares.append(_Spare(path=place, identity=identity, since_s=time.monotonic()))
        except OSError as error:
            _log.debug("%s is not kept for another message: %s", path, error.strerror)
            return False
        return True

    def take(self) -> tuple[str, int] | None:
        """A file's path and a descriptor to overwrite it with, both the caller's from now on; None if there is none.

        That the file is ours alone is found out now and not when it was given: since then nobody could open it under
        the name that others know.
        """
        while (spare := self._pop()) is not None:
            descriptor = _opened(spare)
            if descriptor is not None:
                return spare.path, descriptor
            _remove(spare.path)
        return None

    def _has_room(self) -> bool:
        room = os.statvfs(self._spool)
        return room.f_bavail * room.f_frsize >= _MIN_FREE_BYTES

    def _pop(self) -> _Spare | None:
        # The last one: it is the likeliest to be in the processor's cache, and those that are too many grow old.
        with self._lock:
            return self._spares.pop() if self._spares else None

    def _begin(self) -> str:
        """Makes the directory, and holds it for as long as the process lives, which tells others that it is in use."""
        path = f"{self._spool}/{spool.stock_name(os.urandom(4))}"
        os.mkdir(path, 0o700)  # noqa: PTH102
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Gone, if another front end that starts just now took it for one that was left.
            os.stat(path)  # noqa: PTH116
        except OSError:
            os.close(held)
            raise
        self._directory, self._held = path, held
        return path

    def sweep(self) -> None:
        """Removes the files that nobody has wanted for a while."""
        with self._lock:
            oldest_s = time.monotonic() - MAX_IDLE_S
            idle = [spare for spare in self._spares if spare.since_s < oldest_s]
            del self._spares[: len(idle)]
        for spare in idle:
            _remove(spare.path)

    def close(self) -> None:
        """Removes everything, also what messages are still written to, and takes no more."""
        with self._lock:
            self._is_closed = True
            self._spares.clear()
            directory, self._directory = self._directory, None
        if directory is not None:
            _clear(directory)
            os.close(self._held)


def _opened(spare: _Spare) -> int | None:
    """A descriptor of the file, None if it is not as it was or not ours alone."""
    try:
        # Not waiting: for somebody else's lease to end, or for the other end of a pipe that took the file's place.
        descriptor = os.open(spare.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with suppress(OSError):
        # In this order: who had it open a moment ago may have given it a second name.
        if _is_ours_alone(descriptor) and identity_of(descriptor) == spare.identity:
            return descriptor
    os.close(descriptor)
    return None


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("%s, which holds mail that is over, stays: %s", path, error.strerror)


def _clear(directory: str) -> None:
    try:
        for name in os.listdir(directory):  # noqa: PTH208
            _remove(f"{directory}/{name}")
        os.rmdir(directory)  # noqa: PTH106
    except OSError as error:
        _log.warning("%s, which may hold mail that is over, stays: %s", directory, error.strerror)


def _file_system(directory: Path) -> str | None:
    """The kind of file system that the directory is on, None if the system does not tell."""
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_bytes().splitlines():
        # proc(5): the device is the third field, the kind the first behind a dash. Blanks in names are escaped.
        mount, _, kind = line.partition(b" - ")
        if mount.split()[2] == number.encode():
            return kind.split()[0].decode()
    return None


def stock_in(directory: Path) -> Stock | None:
    """A stock for this spool, None where none would be safe or of use."""
    if sys.platform != "linux":
        return None
    try:
        return Stock(directory) if _file_system(directory) in _FILE_SYSTEMS else None
    except OSError as error:
        _log.warning("the file system of %s is unknown: %s", directory, error.strerror)
        return None


def remove_left(directory: Path) -> None:
    """Removes what front ends that were killed have left of their stocks; OSError if the spool cannot be read."""
    for name in filter(spool.is_stock_name, os.listdir(directory)):  # noqa: PTH208
        left = f"{directory}/{name}"
        try:
            held = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            _log.warning("%s is not a stock's: %s", left, error.strerror)
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Another front end's, which runs.
            continue
        else:
            _clear(left)
            _log.info("%s, left by a front end that was killed, is removed", left)
        finally:
            os.close(held)
