# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that `foreign.py` starts to read an archive with libarchive, in a process of its own.

    foreign_child.py DESCRIPTOR CPU_SECONDS

Reads one archive after the other from an inherited descriptor. On standard input, `o`, a byte and as many letters name
the kind of a new one; `n` asks for the next member, `r` and a number for more bytes of it, and both are answered by a
frame on standard output. Imports nothing of the package, for its start counts.
"""

import os
import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from ctypes import create_string_buffer
from typing import Any, Final

# Kind of frame, flags, the member's size or -1, and the length of the bytes that follow: a name, content, a message.
FRAME: Final = struct.Struct(">BBqQ")
MEMBER, END, ERROR, BYTES = range(4)
FLAG_ENCRYPTED, FLAG_DIRECTORY, FLAG_DAMAGED = 1, 2, 4
# The number after `r`.
WANTED: Final = struct.Struct(">Q")
_BLOCK_BYTES: Final = 64 * 1024
# 7-Zip's strongest preset takes 64 MiB, RAR's dictionaries can be several hundred.
_MAX_MEMORY_BYTES: Final = 1024 * 1024 * 1024
# As libarchive calls them; a kind that is not here is a filter, for a single compressed file.
_FORMATS: Final = {
    "7z": ("7zip",), "rar": ("rar", "rar5"), "cab": ("cab",), "iso": ("iso9660",), "lha": ("lha",), "ar": ("ar",),
    "cpio": ("cpio",), "xar": ("xar",),
}  # fmt: skip
# An image may have one set of names for Unix, which libarchive prefers, and another that Windows shows.
_READINGS: Final = {"iso": (b"", b"iso9660:!rockridge")}
_DIRECTORY_TYPE: Final = 0o040000


def limit(cpu_seconds: int) -> None:
    """Bound what hostile bytes can make the library take."""
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def open_archive(ffi: Any, archive: Any, descriptor: int, kind: str, options: bytes) -> None:
    """Let libarchive open the archive, with no other formats than those of its kind."""
    ffi.get_read_filter_function("none" if kind in _FORMATS else kind)(archive)
    for name in _FORMATS.get(kind, ("raw",)):
        ffi.get_read_format_function(name)(archive)
    if options:
        ffi.ffi("read_set_options", [ffi.c_archive_p, ffi.c_char_p], ffi.c_int, ffi.check_int)(archive, options)
    os.lseek(descriptor, 0, os.SEEK_SET)
    ffi.read_open_fd(archive, descriptor, _BLOCK_BYTES)


def read(ffi: Any, archive: Any, size: int) -> tuple[bytes, bool]:
    """Return the next bytes of the current member's content, and whether it is damaged behind them."""
    buffer = create_string_buffer(_BLOCK_BYTES)
    pieces: list[bytes] = []
    try:
        while size > 0 and (count := ffi.read_data(archive, buffer, min(size, _BLOCK_BYTES))):
            pieces.append(buffer.raw[:count])
            size -= count
    except ffi.ArchiveError:
        if not pieces:
            raise
        return b"".join(pieces), True
    return b"".join(pieces), False


def entry_frame(ffi: Any, entry: Any) -> tuple[int, int, bytes]:
    """Return flags, size and name of a member, the name in UTF-8 if it could be converted to that."""
    text = ffi.entry_pathname_w(entry)
    name = ffi.entry_pathname(entry) or b"" if text is None else text.encode("utf-8", "surrogateescape")
    flags = FLAG_DIRECTORY if ffi.entry_filetype(entry) == _DIRECTORY_TYPE else 0
    if ffi.entry_is_encrypted(entry):
        flags |= FLAG_ENCRYPTED
    return flags, ffi.entry_size(entry) if ffi.entry_size_is_set(entry) else -1, name


def send(kind: int, content: bytes = b"", *, flags: int = 0, size: int = -1) -> None:
    """Write one frame."""
    sys.stdout.buffer.write(FRAME.pack(kind, flags, size, len(content)) + content)
    sys.stdout.buffer.flush()


class OtherArchiveError(Exception):
    """Another archive is asked for."""


def answer_until_next(ffi: Any, archive: Any) -> None:
    """Send content until the next member is asked for. Ends the program if nobody asks any more."""
    while (command := sys.stdin.buffer.read(1)) != b"n":
        if not command:
            sys.exit(0)
        if command == b"o":
            raise OtherArchiveError
        wanted = WANTED.unpack(sys.stdin.buffer.read(WANTED.size))[0]
        if archive is None:
            send(ERROR, b"there is no member")
            continue
        try:
            content, is_damaged = read(ffi, archive, wanted)
            send(BYTES, content, flags=FLAG_DAMAGED if is_damaged else 0)
        except ffi.ArchiveError as error:
            send_error(ffi, archive, error)


def send_error(ffi: Any, archive: Any, error: Any) -> None:
    """Say what went wrong, and whether a password would have helped."""
    is_closed = ffi.read_has_encrypted_entries(archive) > 0
    send(
        ERROR,
        str(error.msg or "the archive is damaged").encode("utf-8", "replace"),
        flags=FLAG_ENCRYPTED if is_closed else 0,
    )


def entries(ffi: Any, archive: Any) -> Iterator[Any]:
    """Yield the archive's members, one object for all of them."""
    entry = ffi.entry_new()
    try:
        while ffi.read_next_header2(archive, entry) != ffi.ARCHIVE_EOF:
            yield entry
    finally:
        ffi.entry_free(entry)


def serve(descriptor: int) -> None:
    """Read one archive after the other, until nobody asks for more."""
    from libarchive import ffi  # noqa: PLC0415 (not for the process that imports this for the constants)

    ffi.ffi("entry_is_encrypted", [ffi.c_archive_entry_p], ffi.c_int)
    ffi.ffi("read_has_encrypted_entries", [ffi.c_archive_p], ffi.c_int)
    is_asked = sys.stdin.buffer.read(1) == b"o"
    while is_asked:
        kind = sys.stdin.buffer.read(sys.stdin.buffer.read(1)[0]).decode("ascii")
        is_asked = False
        try:
            answer_until_next(ffi, None)
            serve_archive(ffi, descriptor, kind)
            while True:
                answer_until_next(ffi, None)
                send(ERROR, b"there are no more members")
        except OtherArchiveError:
            is_asked = True


def serve_archive(ffi: Any, descriptor: int, kind: str) -> None:
    """Answer the requests for one archive, until there is no other member."""
    known: set[tuple[int, int, bytes]] = set()
    for options in _READINGS.get(kind, (b"",)):
        archive = ffi.read_new()
        try:
            open_archive(ffi, archive, descriptor, kind, options)
            for entry in entries(ffi, archive):
                flags, size, name = entry_frame(ffi, entry)
                if (flags, size, name.lower()) in known:
                    continue
                known.add((flags, size, name.lower()))
                send(MEMBER, name, flags=flags, size=size)
                answer_until_next(ffi, archive)
        except ffi.ArchiveError as error:
            send_error(ffi, archive, error)
            return
        finally:
            with suppress(ffi.ArchiveError):
                ffi.read_free(archive)
    send(END)


if __name__ == "__main__":
    limit(int(sys.argv[2]))
    serve(int(sys.argv[1]))
