# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that libarchive reads: 7z, rar, cab, ISO images and some old ones; and streams of zstd, lz4, lzip, compress.

A process of its own reads them (`foreign_child.py`), with limits on its time and memory: the library is C, the bytes
are hostile, and a crash or an endless loop there must end in an ArchiveError here. Its start costs some 60 ms; the
archives within an archive take the same one in turn.
"""

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from defang_worker.mime.archives import foreign_child as child
from defang_worker.mime.archives.kinds import ArchiveKind, has_udf_tree, is_udf_alone
from defang_worker.mime.archives.model import (
    ArchiveEncryptedError,
    ArchiveError,
    ArchiveLimitError,
    Budget,
    Member,
    Reason,
)
from defang_worker.mime.archives.names import decode_name, is_odd, spellings
from defang_worker.mime.archives.wholeness import is_whole

_PROGRAM: Final = str(Path(child.__file__))
# An odd locale would change names.
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
# Others without members are damaged, if not in a way that libarchive minds.
_MAY_BE_EMPTY: Final = frozenset({ArchiveKind.SEVEN_ZIP, ArchiveKind.CAB})
# Not members: the table of symbols and that of long names.
_AR_TABLES: Final = (b"/", b"//", b"/SYM64/")
_PIPE_BYTES: Final = 64 * 1024
_NO_MEMBERS: Final = -1
_FAILED: Final = "the archive made its reader fail"


class _Child:
    """A process that reads one archive at a time, a member at a time."""

    def __init__(self, seconds: float) -> None:
        self.position = _NO_MEMBERS
        """How many members it has gone to."""
        self.is_alive = True
        self._seconds = seconds
        self._kept = b""
        """What was read of the current member's content."""
        self._is_whole = self._is_damaged = False
        self._file = _new_file()
        """What the archives are put in, one after the other."""
        descriptor = self._file.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-I", _PROGRAM, str(descriptor), str(int(seconds) + 1)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            pass_fds=[descriptor],
            bufsize=0,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout

    def __del__(self) -> None:
        self.close()

    def open(self, data: bytes | memoryview, kind: ArchiveKind) -> None:
        """Have an archive read from its start. Raises ArchiveError."""
        # The process reads nothing before it is asked for a member.
        self._file.seek(0)
        self._file.truncate()
        self._file.write(data)
        self._file.flush()
        self.position = 0
        try:
            self._to.write(b"o" + bytes([len(kind.value)]) + kind.value.encode("ascii"))
        except BrokenPipeError as error:
            self.close()
            raise ArchiveError(_FAILED) from error

    def next(self) -> tuple[int, int, bytes] | None:
        """Return flags, size and name of the next member; None if there is none. Raises ArchiveError."""
        self._kept, self._is_whole, self._is_damaged = b"", False, False
        kind, flags, size, name = self._ask(b"n")
        if kind == child.END:
            self.position = _NO_MEMBERS
            return None
        self.position += 1
        return flags, size, name

    def content(self, size: int) -> bytes:
        """Return the first bytes of the current member's content. Raises ArchiveError."""
        missing = size - len(self._kept)
        if missing > 0 and not self._is_whole:
            _, flags, _, more = self._ask(b"r" + child.WANTED.pack(missing))
            self._kept += more
            self._is_whole = len(more) < missing
            self._is_damaged = bool(flags & child.FLAG_DAMAGED)
        if self._is_damaged and len(self._kept) < size:
            raise ArchiveError("a member's content is damaged or cut off", partial=self._kept)
        return self._kept[:size]

    def close(self) -> None:
        """End the process. May be called twice."""
        if self.is_alive:
            self.is_alive = False
            self.position = _NO_MEMBERS
            self._process.kill()
            self._process.wait()
            self._to.close()
            self._from.close()
            self._file.close()

    def _ask(self, request: bytes) -> tuple[int, int, int, bytes]:
        if self.position < 0:
            raise ArchiveError(_FAILED)
        deadline = time.monotonic() + self._seconds
        try:
            self._to.write(request)
            kind, flags, size, length = child.FRAME.unpack(self._receive(child.FRAME.size, deadline))
            content = self._receive(length, deadline)
        except (BrokenPipeError, EOFError) as error:
            self.close()
            raise ArchiveError(_FAILED) from error
        if kind == child.ERROR:
            text = content.decode("utf-8", "replace")
            raise ArchiveEncryptedError(text) if flags & child.FLAG_ENCRYPTED else ArchiveError(text, _reason(text))
        return kind, flags, size, content

    def _receive(self, size: int, deadline: float) -> bytes:
        pieces: list[bytes] = []
        waiting = select.poll()
        waiting.register(self._from, select.POLLIN)
        while size > 0:
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                self.close()
                raise ArchiveLimitError("libarchive takes too long", Reason.TIME)
            piece = self._from.read(min(size, _PIPE_BYTES))
            if not piece:
                raise EOFError
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _reason(complaint: str) -> Reason:
    """Return whether libarchive lacks something or minds what it was given; it has no numbers for that."""
    return Reason.UNSUPPORTED if "upported" in complaint else Reason.DAMAGED


def _new_file() -> IO[bytes]:
    """Return a file without a name, in memory if the system can."""
    in_memory = hasattr(os, "memfd_create")
    return os.fdopen(os.memfd_create("archive"), "w+b") if in_memory else tempfile.TemporaryFile()


def _opened(data: bytes | memoryview, kind: ArchiveKind, budget: Budget) -> _Child:
    """Return a process that reads the archive: one that waits for work, or a new one."""
    waiting = budget.helpers.pop() if budget.helpers else None
    process = waiting if isinstance(waiting, _Child) else _Child(budget.seconds)
    process.open(data, kind)
    return process


def _release(process: _Child, budget: Budget) -> None:
    if process.is_alive:
        budget.helpers.append(process)


class ForeignReader:
    """Goes through the members of one archive. `close` ends the process behind it."""

    def __init__(self, data: bytes, kind: ArchiveKind, budget: Budget) -> None:
        self._data = data
        self._kind = kind
        self._budget = budget
        self._child: _Child | None = None

    def __iter__(self) -> Iterator[Member]:
        # Which libarchive cannot read, and Windows prefers to that of ISO 9660 in the same image.
        is_udf = self._kind is ArchiveKind.ISO and has_udf_tree(self._data)
        if not (is_udf and is_udf_alone(self._data)):
            yield from self._listed()
        if is_udf:
            raise ArchiveError("the image has a UDF tree, which can't be read", Reason.UNSUPPORTED)

    def _listed(self) -> Iterator[Member]:
        position = 0
        while (entry := self._child_at(position).next()) is not None:
            position += 1
            self._budget.take_member()
            if self._kind is not ArchiveKind.AR or entry[2] not in _AR_TABLES:
                yield self._member(entry, position)
        if position == 0 and self._kind not in _MAY_BE_EMPTY:
            raise ArchiveError("nothing can be found in the archive")
        if not is_whole(self._data, self._kind):
            raise ArchiveError("the archive is cut off")

    def close(self) -> None:
        """Let go of the process, if there is one; contents that are asked for later take another."""
        if self._child is not None:
            _release(self._child, self._budget)
            self._child = None

    def _member(self, entry: tuple[int, int, bytes], position: int) -> Member:
        flags, size, name = entry
        names = spellings(decode_name(name, "latin-1"))
        is_encrypted = bool(flags & child.FLAG_ENCRYPTED)
        defects = ["archive-encrypted"] if is_encrypted else []
        if any(is_odd(text) for text in names):
            defects.append("archive-odd-member-name")

        def unpack(wanted: int) -> bytes:
            if is_encrypted:
                raise ArchiveEncryptedError("a member of the archive is encrypted")
            return self._child_at(position).content(wanted)

        return Member(
            kind=self._kind,
            names=names,
            unpack=unpack,
            budget=self._budget,
            size=None if size < 0 else size,
            # Members may be packed together.
            packed_size=len(self._data),
            is_encrypted=is_encrypted,
            is_directory=bool(flags & child.FLAG_DIRECTORY),
            defects=tuple(defects),
        )

    def _child_at(self, position: int) -> _Child:
        """Return a child that has gone to this many members: the one at work, or a new one if that is further on."""
        if self._child is None or not 0 <= self._child.position <= position:
            self.close()
            self._child = _opened(self._data, self._kind, self._budget)
        while self._child.position < position:
            if self._child.next() is None:
                raise ArchiveError("a member of the archive is gone")
        return self._child


def unpack_stream(kind: ArchiveKind, packed: bytes | memoryview, size: int, budget: Budget) -> bytes:
    """Return the first bytes of a single compressed file. Raises ArchiveError."""
    process = _opened(packed, kind, budget)
    try:
        if process.next() is None:
            raise ArchiveError("nothing can be found in the compressed file")
        content = process.content(size)
    finally:
        _release(process, budget)
    # A header that makes no sense to libarchive makes it hand out the file as it is.
    if content and content == packed[: len(content)]:
        raise ArchiveError("the compressed file has a damaged header")
    return content
