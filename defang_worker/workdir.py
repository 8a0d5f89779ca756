# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a message's working directory: COMMANDS and INPUTMSG in, NEWBODY and RESULTS out.

Every write is checked to its last byte: a full disk ends in an error, and so in a temporary failure, never in half an
instruction. No meaning of a line is known here.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

from defang_common.host import whole_lines
from defang_common.wire import results
from defang_common.wire.errors import Malformed, Unencodable
from defang_common.wire.spool import COMMANDS, INPUTMSG, NEWBODY, RESULTS

if TYPE_CHECKING:
    from defang_common.wire.results import Result
    from defang_worker.mime.output import Rebuilt

    Buffer = bytes | mmap.mmap

# Below this, one read is cheaper than setting up and taking down a mapping.
_MAP_FROM_BYTES: Final = 256 * 1024


class _Worker:
    pid = os.getpid()


def become_worker() -> None:
    """From now on this process is the worker: a template has forked it."""
    _Worker.pid = os.getpid()


def end_if_forked() -> None:
    """Ends this process if it is not the worker but a child that a filter forked and that came back from the callback.

    What such a child would write or answer is the worker's to say, and only once.
    """
    if os.getpid() != _Worker.pid:
        os._exit(os.EX_SOFTWARE)


class TooMuch(Unencodable):
    """RESULTS would go over what a front end reads."""


def read_commands(directory: str) -> bytes:
    """The whole of COMMANDS; raises OSError."""
    return _read(f"{directory}/{COMMANDS}")


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read_all(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, size: int) -> bytes:
    # One byte more than there should be: a file of its announced size then takes one call.
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    pieces = [data]
    while piece := os.read(descriptor, 64 * 1024):
        pieces.append(piece)
    return b"".join(pieces)


def open_message(directory: str) -> Buffer:
    """The bytes of INPUTMSG, memory-mapped if large; raises OSError."""
    descriptor = os.open(f"{directory}/{INPUTMSG}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if size < _MAP_FROM_BYTES:
            return _read_all(descriptor, size)
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


def write_body(directory: str, body: Rebuilt) -> None:
    """Writes NEWBODY; raises OSError."""
    end_if_forked()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(f"{directory}/{NEWBODY}", flags, 0o666)
    try:
        body.write(descriptor)
        if not body.size:
            # An empty NEWBODY would leave the old body in place (protocol.md, RESULTS).
            _write(descriptor, b"\n")
    finally:
        os.close(descriptor)


def read_begun_results(directory: str) -> list[Result]:
    """What sender and recipient checks wrote to RESULTS; raises OSError or Malformed."""
    try:
        begun = _read(f"{directory}/{RESULTS}")
    except FileNotFoundError:
        return []
    if not begun:
        return []
    if not begun.endswith(b"\n"):
        raise Malformed("RESULTS ends within a line")
    return list(results.decode(begun, need_end=False).changes)


def drop_begun_headers(directory: str) -> None:
    """Takes the lines that add header fields out of RESULTS; raises OSError.

    The file is unfinished then, so that a crash in the midst of it leaves a temporary failure.
    """
    end_if_forked()
    begun = read_begun_results(directory)
    kept = [change for change in begun if not isinstance(change, results.AddHeader | results.InsertHeader)]
    descriptor = os.open(f"{directory}/{RESULTS}", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        _write(descriptor, b"".join(map(results.encode_line, kept)))
    finally:
        os.close(descriptor)


def append_results(directory: str, lines: list[Result]) -> None:
    """Appends the lines to RESULTS, which sender and recipient checks may have begun.

    Raises Unencodable, before anything is written, if a line or the whole would go over the front end's limits, and
    OSError if not everything could be written; then nothing is.
    """
    end_if_forked()
    data = b"".join(map(results.encode_line, lines))
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(f"{directory}/{RESULTS}", flags, 0o666)
    try:
        begun = os.fstat(descriptor).st_size
        if begun + len(data) > results.MAX_FILE_BYTES:
            raise TooMuch(f"RESULTS would have {begun + len(data)} bytes, limit {results.MAX_FILE_BYTES}")
        whole_lines.append(descriptor, begun, data)
    finally:
        os.close(descriptor)
