# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a message that cost a worker: its digest, a copy of its working directory, and what the MTA is told.

Blocking, for a thread of `poison_guard`, the only caller. A copy ("bundle") is a directory named for the digest, with
what a trial needs (COMMANDS, INPUTMSG) and a file DEATHS, to which each loss of a worker adds its lines.
"""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

from defang_common.host import whole_lines
from defang_common.wire import results
from defang_common.wire.results import Result
from defang_common.wire.spool import COMMANDS, HEADERS, INPUTMSG, PRISTINE_HEADERS, RESULTS
from defang_mux.pool.poison import Content

DEATHS: Final = "DEATHS"
MOST_BUNDLES: Final = 20
# With the message of the usual limit in it (Sendmail and Postfix: 10 to 50 MB), and beside it the small ones that are
# the rule.
MOST_BYTES: Final = 200 * 1024 * 1024

_NEW: Final = ".new-"
_DIGEST_CHARACTERS: Final = 20
# DEATHS of a message that is never given up must not grow for ever.
_MAX_DEATHS_BYTES: Final = 256 * 1024
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotKept(Exception):
    """There is no bundle; the message says why."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Where a message's copy lies, and whether it was made just now."""

    path: Path
    is_new: bool


def size_of(directory: str) -> int:
    """Bytes of INPUTMSG; raises OSError."""
    return os.lstat(f"{directory}/{INPUTMSG}").st_size


def content_of(directory: str) -> Content:
    """Size and digest of INPUTMSG; raises OSError."""
    with _open(f"{directory}/{INPUTMSG}") as file:
        return Content(os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _open(path: str) -> BufferedReader:
    descriptor = os.open(path, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a file")
    return os.fdopen(descriptor, "rb")


def write_results(directory: str, lines: list[Result]) -> None:
    """Appends to RESULTS, which sender and recipient checks may have begun; raises OSError, and has written nothing."""
    data = b"".join(map(results.encode_line, lines))
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(f"{directory}/{RESULTS}", flags, 0o666)
    try:
        whole_lines.append(descriptor, os.fstat(descriptor).st_size, data)
    finally:
        os.close(descriptor)


def keep(directory: str, content: Content, store: Path, death: str) -> Bundle:
    """A copy of the working directory in `store`, with `death` added to its DEATHS.

    Older bundles make room. Raises `NotKept`, or OSError.
    """
    bundle = store / content.digest[:_DIGEST_CHARACTERS]
    is_new = not bundle.is_dir()
    if is_new:
        if content.size_bytes > MOST_BYTES:
            raise NotKept(f"it has {content.size_bytes} bytes")
        store.mkdir(mode=0o750, exist_ok=True)
        _make_room(store, content.size_bytes)
        _copy(directory, store / f"{_NEW}{bundle.name}", bundle)
    with (bundle / DEATHS).open("a", encoding="utf-8", errors="backslashreplace") as file:
        if file.tell() < _MAX_DEATHS_BYTES:
            file.write(death)
    return Bundle(bundle, is_new)


def _make_room(store: Path, wanted_bytes: int) -> None:
    """Removes the bundles that were not added to for longest, and what was left half made."""
    found = []
    for entry in store.iterdir():
        if entry.name.startswith(_NEW):
            shutil.rmtree(entry, ignore_errors=True)
        elif (entry / DEATHS).is_file():
            size = sum(file.stat().st_size for file in entry.iterdir())
            found.append(((entry / DEATHS).stat().st_mtime_ns, size, entry))
    found.sort()
    total = sum(size for _, size, _ in found)
    while found and (len(found) >= MOST_BUNDLES or total + wanted_bytes > MOST_BYTES):
        _, size, entry = found.pop(0)
        total -= size
        shutil.rmtree(entry)


def _copy(directory: str, unfinished: Path, bundle: Path) -> None:
    unfinished.mkdir(mode=0o750)
    try:
        for name in (COMMANDS, INPUTMSG, HEADERS, PRISTINE_HEADERS):
            try:
                source = _open(f"{directory}/{name}")
            except FileNotFoundError:
                continue
            with source, (unfinished / name).open("wb") as target:
                shutil.copyfileobj(source, target)
        unfinished.rename(bundle)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
