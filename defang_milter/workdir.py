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
from defang_milter.spool_stock import Identity, Stock, identity_of

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
    """One message's directory; the constructor makes it and raises FileExistsError if it is there already.

    INPUTMSG of a large message is a file of `stock`, if that has one, and goes there when the message is over.
    """

    __slots__ = (
        "_buffer",
        "_buffered_bytes",
        "_files",
        "_input",
        "_is_answered",
        "_reopen",
        "_spare",
        "_stock",
        "_whole",
        "path",
        "told_results",
        "was_checked",
    )

    def __init__(self, path: str, *, reopen: bool, stock: Stock | None = None) -> None:
        self.path = path
        self._reopen = reopen
        # A file of the stock would have to be found again by its name.
        self._stock = None if reopen else stock
        # Where the file is that is to be INPUTMSG, as long as it may hold some of another message behind ours.
        self._spare: str | None = None
        self._whole: Identity | None = None
        self._is_answered = False
        self._input = -1
        self._buffer: list[bytes | bytearray] = []
        self._buffered_bytes = 0
        self._files: dict[str, str] = {}
        self.told_results: bytes | None = None
        """What came of RESULTS on the scan's answer, behind what a check has written; None if all of it is the file."""
        self.was_checked = False
        """Whether a check was asked about the message, which may have begun RESULTS."""
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
            if self._input < 0:
                self._input = self._open_for_large()
            self._flush()

    def _open_for_large(self) -> int:
        taken = None if self._stock is None else self._stock.take()
        if taken is None:
            return self._open_to_append(spool.INPUTMSG)
        self._spare, descriptor = taken
        return descriptor

    def _flush(self) -> None:
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
        is_large = self._input >= 0
        if not is_large:
            self._input = self._open_to_append(spool.INPUTMSG)
        self._flush()
        if is_large and self._stock is not None:
            self._cut()
            self._whole = identity_of(self._input)
        self._close()

    def _cut(self) -> None:
        """Makes a file of the stock INPUTMSG, with nothing in it but what was written for this message."""
        if self._spare is None:
            return
        os.ftruncate(self._input, os.lseek(self._input, 0, os.SEEK_CUR))
        path = self._files[spool.INPUTMSG] = f"{self.path}/{spool.INPUTMSG}"
        os.rename(self._spare, path)  # noqa: PTH104
        self._spare = None

    def results(self) -> bytes:
        """The bytes of RESULTS, up to one more than a file may have."""
        content = self.told_results
        if content is None:
            content = self._results_file()
        elif self.was_checked:
            content = self._begun_results() + content
        self._is_answered = True
        return content

    def _begun_results(self) -> bytes:
        try:
            begun = self._results_file()
        except FileNotFoundError:
            del self._files[spool.RESULTS]
            return b""
        if begun and not begun.endswith(b"\n"):
            # Its line would swallow the first of what came on the answer, which may be the verdict.
            raise OSError(errno.EIO, f"{spool.RESULTS} ends within a line")
        return begun

    def _results_file(self) -> bytes:
        descriptor = self._open(spool.RESULTS, os.O_RDONLY)
        try:
            # One call: a regular file gives less than it is asked for at its end alone.
            return os.read(descriptor, results.MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)

    def write_told_results(self) -> None:
        """Writes what came on the answer to RESULTS, for people who look into a directory that stays."""
        if self.told_results is not None:
            self._append(spool.RESULTS, self.told_results)

    def open_new_body(self) -> int:
        """A descriptor for NEWBODY, which the caller closes."""
        return self._open(spool.NEWBODY, os.O_RDONLY)

    def abandon(self) -> None:
        """Lets go of the directory, which stays."""
        self._buffer.clear()
        try:
            self._cut()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Closes INPUTMSG; what was to be it, and is not, goes."""
        self._close()
        if self._spare is not None:
            spare, self._spare = self._spare, None
            os.unlink(spare)  # noqa: PTH108

    def _give_back(self) -> None:
        """Has the stock take INPUTMSG, if nobody works with it any more."""
        if self._stock is None or self._whole is None or not self._is_answered:
            return
        if self._stock.give(self._files[spool.INPUTMSG], self._whole):
            del self._files[spool.INPUTMSG]

    def remove(self) -> None:
        """Removes the directory with all that is in it."""
        self._buffer.clear()
        try:
            self._let_go()
            self._give_back()
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
