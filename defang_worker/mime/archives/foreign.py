# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that libarchive reads: 7z, rar, cab, ISO images and some old ones; and streams of zstd, lz4, lzip, compress.

A process of its own reads them (`foreign_child.py`), with limits on its time and memory: the library is C, the bytes
are hostile, and a crash or an endless loop there must end in an ArchiveError here. Costs some 60 ms an archive.
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
from defang_worker.mime.archives.kinds import ArchiveKind
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


class _Child:
    """The process that reads one archive, a member at a time."""

    def __init__(self, data: bytes | memoryview, kind: ArchiveKind, seconds: float) -> None:
        self.position = 0
        """How many members it has gone to; -1 once it has ended."""
        self._seconds = seconds
        self._kept = b""
        """What was read of the current member's content."""
        self._is_whole = False
        with _file_of(data) as file:
            descriptor = file.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-I", _PROGRAM, str(descriptor), kind.value, str(int(seconds) + 1)],
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

    def next(self) -> tuple[int, int, bytes] | None:
        """Return flags, size and name of the next member; None if there is none. Raises ArchiveError."""
        self._kept, self._is_whole = b"", False
        kind, flags, size, name = self._ask(b"n")
        if kind == child.END:
            self.close()
            return None
        self.position += 1
        return flags, size, name

    def content(self, size: int) -> bytes:
        """Return the first bytes of the current member's content. Raises ArchiveError."""
        missing = size - len(self._kept)
        if missing > 0 and not self._is_whole:
            _, _, _, more = self._ask(b"r" + child.WANTED.pack(missing))
            self._kept += more
            self._is_whole = len(more) < missing
        return self._kept[:size]

    def close(self) -> None:
        """End the process. May be called twice."""
        if self.position >= 0:
            self.position = -1
            self._process.kill()
            self._process.wait()
            self._to.close()
            self._from.close()

    def _ask(self, request: bytes) -> tuple[int, int, int, bytes]:
        if self.position < 0:
            raise ArchiveError("the archive made its reader fail")
        deadline = time.monotonic() + self._seconds
        try:
            self._to.write(request)
            kind, flags, size, length = child.FRAME.unpack(self._receive(child.FRAME.size, deadline))
            content = self._receive(length, deadline)
        except (BrokenPipeError, EOFError) as error:
            self.close()
            raise ArchiveError("the archive made its reader fail") from error
        if kind == child.ERROR:
            text = content.decode("utf-8", "replace")
            raise ArchiveEncryptedError(text) if flags & child.FLAG_ENCRYPTED else ArchiveError(text)
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


def _file_of(data: bytes | memoryview) -> IO[bytes]:
    """Return a file without a name that has the data, in memory if the system can."""
    in_memory = hasattr(os, "memfd_create")
    file = os.fdopen(os.memfd_create("archive"), "w+b") if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
    file.write(data)
    file.flush()
    return file


class ForeignReader:
    """Goes through the members of one archive. `close` ends the process behind it."""

    def __init__(self, data: bytes, kind: ArchiveKind, budget: Budget) -> None:
        self._data = data
        self._kind = kind
        self._budget = budget
        self._child: _Child | None = None

    def __iter__(self) -> Iterator[Member]:
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
        """End the process, if there is one; contents that are asked for later start another."""
        if self._child is not None:
            self._child.close()
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
            self._child = _Child(self._data, self._kind, self._budget.seconds)
        while self._child.position < position:
            if self._child.next() is None:
                raise ArchiveError("a member of the archive is gone")
        return self._child


def unpack_stream(kind: ArchiveKind, packed: bytes | memoryview, size: int, seconds: float) -> bytes:
    """Return the first bytes of a single compressed file. Raises ArchiveError."""
    process = _Child(packed, kind, seconds)
    try:
        if process.next() is None:
            raise ArchiveError("nothing can be found in the compressed file")
        return process.content(size)
    finally:
        process.close()
