# SPDX-License-Identifier: GPL-3.0-or-later
"""A message's working directory: made, filled, read, removed or kept (protocol.md, Working directory).

Names of files come from the codec. Modes follow from the umask that the daemon set. Callers
see OSError; the disk that fills up is the usual one.
"""

import errno
import os
import time
from collections.abc import Iterator, Sequence
from typing import Final

from defang_common.wire import results, spool
from defang_common.wire.body import Body
from defang_common.wire.header import Header

# What is held in memory before INPUTMSG is written to: most messages need one write. The pieces are never joined, for
# that would copy them; writev takes 1024 of them at most (POSIX has 16 as the least, Linux and the BSDs have 1024).
# With less a large message costs more in the file system, with twice as much more in the processor's cache.
BUFFER_BYTES: Final = 1024 * 1024
_BUFFER_PIECES: Final = 1000
# What is given to libmilter of NEWBODY at a time; it cuts that into packets itself.
NEW_BODY_CHUNK_BYTES: Final = 1024 * 1024

# How often the removal is tried, and what is waited in between.
_REMOVAL_TRIES: Final = 20
_REMOVAL_PAUSE_S: Final = 0.05

_APPEND: Final = os.O_WRONLY | os.O_APPEND


def _write_all(descriptor: int, pieces: Sequence[bytes | bytearray]) -> None:
    """Writes all of it, for a disk that fills up may take a part."""
    written = os.writev(descriptor, pieces)
    if written < sum(map(len, pieces)):
        rest = b"".join(pieces)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _remove_tree(path: str) -> None:
    # shutil.rmtree guards against others who rename directories under it, at ten times the system calls; in the spool
    # there are none.
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(entry.path)
            else:
                os.unlink(entry.path)  # noqa: PTH108  # a Path a file costs more than the call
    os.rmdir(path)  # noqa: PTH106


def _allow_removal(path: str) -> None:
    """Gives us back what a directory's mode may have taken: archives that a filter unpacks set any."""
    os.chmod(path, 0o700)  # noqa: PTH101
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _allow_removal(entry.path)


class WorkDir:
    """One message's directory; the constructor makes it and raises FileExistsError if it is there already."""

    __slots__ = ("_buffer", "_buffered_bytes", "_files", "_input", "_reopen", "path")

    def __init__(self, path: str, *, reopen: bool) -> None:
        self.path = path
        self._reopen = reopen
        self._input = -1
        self._buffer: list[bytes | bytearray] = []
        self._buffered_bytes = 0
        self._files: dict[str, str] = {}
        os.mkdir(path, 0o750)  # noqa: PTH102

    def _open(self, name: str, flags: int) -> int:
        path = self._files[name] = f"{self.path}/{name}"
        return os.open(path, flags, 0o640)

    def _open_to_append(self, name: str) -> int:
        # A file that we have begun and that has gone is not begun anew: without its beginning the filter would not know
        # the sender, or see a part of the message.
        return self._open(name, _APPEND if name in self._files else _APPEND | os.O_CREAT)

    def _append(self, name: str, data: bytes) -> None:
        descriptor = self._open_to_append(name)
        try:
            _write_all(descriptor, [data])
        finally:
            os.close(descriptor)

    def append_commands(self, lines: bytes) -> None:
        """Appends to COMMANDS."""
        if lines:
            self._append(spool.COMMANDS, lines)

    def write_header(self, header: Header, *, with_end: bool) -> None:
        """Writes the header's part of INPUTMSG; `with_end` adds the empty line behind it."""
        self.append_input(header.for_scan() + b"\n" if with_end else header.for_scan())

    def write_header_files(self, header: Header) -> None:
        """Writes the header to the files that have nothing else, if that was not done before."""
        if spool.PRISTINE_HEADERS not in self._files:
            self._append(spool.HEADERS, header.unfolded())
            self._append(spool.PRISTINE_HEADERS, header.pristine())

    def append_input(self, data: bytes | bytearray) -> None:
        """Appends to INPUTMSG, through a buffer."""
        self._buffer.append(data)
        self._buffered_bytes += len(data)
        if self._buffered_bytes >= BUFFER_BYTES or len(self._buffer) >= _BUFFER_PIECES:
            self._flush()

    def _flush(self) -> None:
        if self._input < 0:
            self._input = self._open_to_append(spool.INPUTMSG)
        pieces, self._buffer = self._buffer, []
        self._buffered_bytes = 0
        _write_all(self._input, pieces)
        if self._reopen:
            self._close()

    def _close(self) -> None:
        if self._input >= 0:
            descriptor, self._input = self._input, -1
            os.close(descriptor)

    def end_input(self, body: Body) -> None:
        """Completes INPUTMSG; it exists then, be the message ever so empty."""
        self._buffer.append(body.end())
        self._flush()
        self._close()

    def results(self) -> bytes:
        """The bytes of RESULTS, up to one more than a file may have."""
        descriptor = self._open(spool.RESULTS, os.O_RDONLY)
        try:
            # One call: a regular file gives less than it is asked for at its end alone.
            return os.read(descriptor, results.MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)

    def open_new_body(self) -> int:
        """A descriptor for NEWBODY, which the caller closes."""
        return self._open(spool.NEWBODY, os.O_RDONLY)

    def abandon(self) -> None:
        """Lets go of the directory, which stays."""
        self._buffer.clear()
        self._close()

    def remove(self) -> None:
        """Removes the directory with all that is in it."""
        self.abandon()
        try:
            # Most have nothing but what passed through our hands, and need no look at what is there.
            for path in self._files.values():
                os.unlink(path)  # noqa: PTH108  # a Path a file costs more than the call
            os.rmdir(self.path)  # noqa: PTH106
        except OSError:
            self._remove_all()

    def _remove_all(self) -> None:
        for _ in range(_REMOVAL_TRIES):
            try:
                _remove_tree(self.path)
            except PermissionError:
                _allow_removal(self.path)
            except OSError as error:
                # A worker that we have given up, or MIMEDefang's, which may go on behind an error, still writes there.
                if error.errno != errno.ENOTEMPTY and not (error.errno == errno.ENOENT and error.filename != self.path):
                    raise
                time.sleep(_REMOVAL_PAUSE_S)
            else:
                return
        _remove_tree(self.path)


def new_body_chunks(descriptor: int) -> Iterator[bytes]:
    """The bytes of NEWBODY in large pieces."""
    while chunk := os.read(descriptor, NEW_BODY_CHUNK_BYTES):
        yield chunk
