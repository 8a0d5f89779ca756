# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes into directories that others read: entries of the quarantine, published files.

Everything appears whole or not at all: it is written under another name, brought to disk, and renamed. Names and
layout of the quarantine are MIMEDefang's, `docs/quarantine.md`.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from defang_worker.effects.contract import EffectFailed

if TYPE_CHECKING:
    from defang_worker.effects.contract import PublishedFile, QuarantineEntry
    from defang_worker.mime.headers import Buffer

# As the original's, less what the umask takes.
_DIRECTORY_MODE: Final = 0o750
_FILE_MODE: Final = 0o640
# A web server has to read it.
_PUBLISHED_MODE: Final = 0o644
# More entries within a second than any machine makes.
_MAX_ENTRIES_A_SECOND: Final = 100_000
_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
# What file systems say that cannot clone or copy by themselves.
_NO_RANGE_COPY: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_COPY_BYTES: Final = 1 << 30
_NO_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES})

UNFINISHED_PREFIX: Final = ".new-"
"""How names begin of what is not written to its end; after a crash such a thing may be left."""


def quarantine(entry: QuarantineEntry) -> str:
    """Stores the entry, brought to disk; the path of its directory. Raises EffectFailed, and leaves nothing then."""
    hour = f"{entry.directory}/{entry.time:%Y-%m-%d-%H}"
    unfinished = f"{hour}/{UNFINISHED_PREFIX}{secrets.token_hex(8)}"
    try:
        with suppress(FileExistsError):
            os.mkdir(hour, _DIRECTORY_MODE)  # noqa: PTH102
            _sync(entry.directory)
        os.mkdir(unfinished, _DIRECTORY_MODE)  # noqa: PTH102
        for name, content in entry.files.items():
            _write(f"{unfinished}/{name}", content, _FILE_MODE)
        for name, source in entry.same_as.items():
            _same(source, f"{unfinished}/{name}")
        _sync(unfinished)
        path = _named(unfinished, f"{hour}/qdir-{entry.time:%Y-%m-%d-%H.%M.%S}")
        _sync(hour)
    except OSError as fault:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise EffectFailed(f"not quarantined: {fault}") from fault
    return path


def _named(unfinished: str, stem: str) -> str:
    """Gives the directory the first free number. Renaming is what takes a number, so no two get the same."""
    for number in range(1, _MAX_ENTRIES_A_SECOND):
        path = f"{stem}-{number:03d}"
        try:
            os.rename(unfinished, path)  # noqa: PTH104
        except OSError as fault:
            if fault.errno not in _TAKEN:
                raise
        else:
            return path
    raise OSError(errno.EEXIST, "no free name", stem)


def forget(path: str) -> None:
    """Removes an entry. Raises EffectFailed."""
    try:
        shutil.rmtree(path)
    except OSError as fault:
        raise EffectFailed(f"not removed from the quarantine: {fault}") from fault


def publish(file: PublishedFile) -> None:
    """Makes the file appear whole. Raises EffectFailed, also for a name that leads elsewhere."""
    if "/" in file.name or file.name in {"", ".", ".."}:
        raise EffectFailed(f"not published, no file name: {file.name!r}")
    path = f"{file.directory}/{file.name}"
    unfinished = f"{file.directory}/{UNFINISHED_PREFIX}{secrets.token_hex(8)}"
    try:
        with suppress(FileNotFoundError):
            os.utime(path)
            return
        try:
            _write(unfinished, file.content, _PUBLISHED_MODE)
            os.chmod(unfinished, _PUBLISHED_MODE)  # noqa: PTH101  # whatever the umask is
            os.rename(unfinished, path)  # noqa: PTH104
        except OSError:
            with suppress(OSError):
                os.unlink(unfinished)  # noqa: PTH108
            raise
        _sync(file.directory)
    except OSError as fault:
        raise EffectFailed(f"not published: {fault}") from fault


def _write(path: str, content: Buffer, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with memoryview(content) as view:
            written = 0
            while written < len(view):
                with view[written:] as rest:
                    written += os.write(descriptor, rest)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same(source: str, target: str) -> None:
    """The same content under another name: a hard link, or a copy where there can be none."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as fault:
        if fault.errno not in _NO_LINK:
            raise
        _copy(source, target)
    _sync(target)


def _copy(source: str, target: str) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    with open(source, "rb") as read_from, open(descriptor, "wb") as write_to:  # noqa: PTH123
        try:
            # Copies nothing where the file system can share the blocks.
            while os.copy_file_range(read_from.fileno(), descriptor, _COPY_BYTES):
                pass
        except OSError as fault:
            if fault.errno not in _NO_RANGE_COPY:
                raise
            shutil.copyfileobj(read_from, write_to)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
