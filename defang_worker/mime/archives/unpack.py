# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacking the first bytes of a packed content, as many as are wanted and no more: `inflate`, `expand`, `lzma_of_zip`.

A content that ends too early, or is damaged before the bytes wanted are there, raises ArchiveError, which has what
could be unpacked.
"""

import zlib
from collections.abc import Callable
from typing import Final, Protocol

from defang_worker.mime.archives.kinds import PADDING, ArchiveKind
from defang_worker.mime.archives.model import ArchiveError, ArchiveLimitError, Budget, Reason
from defang_worker.mime.tree import KIB, MIB

RAW_DEFLATE: Final = -zlib.MAX_WBITS
GZIP: Final = 16 + zlib.MAX_WBITS
_STEP_BYTES: Final = 64 * KIB
# The dictionary is allocated at once; xz -9 has 64 MiB.
_MAX_DICTIONARY_BYTES: Final = 128 * MIB
# Streams that follow one another are one file, which is how programs pack on several processors: a stream for 100 KB or
# more of content. Empty ones take 14 bytes, and each costs its decompressor.
_MAX_STREAMS: Final = 4_096
_BZIP2_MAGIC: Final = b"BZh"
_XZ_MAGIC: Final = b"\xfd7zXZ\0"


class Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...  # noqa: D102
    @property
    def needs_input(self) -> bool: ...  # noqa: D102
    @property
    def unused_data(self) -> bytes: ...  # noqa: D102
    def decompress(self, data: bytes, max_length: int) -> bytes: ...  # noqa: D102


def inflate(packed: memoryview, size: int, window_bits: int = RAW_DEFLATE) -> bytes:
    """Return the first bytes of deflated data, or of all members of a gzip file; what follows them is left."""
    pieces: list[bytes] = []
    stream = zlib.decompressobj(window_bits)
    at = 0
    try:
        while size > 0 and not stream.eof:
            chunk = stream.unconsumed_tail or bytes(packed[at : at + _STEP_BYTES])
            at += 0 if stream.unconsumed_tail else len(chunk)
            # Without input there may still be output waiting.
            piece = stream.decompress(chunk, size)
            if not piece and not chunk and not stream.eof:
                raise ArchiveError("a member's content is cut off", partial=b"".join(pieces))
            pieces.append(piece)
            size -= len(piece)
            if stream.eof and window_bits == GZIP:
                at -= len(stream.unused_data)
                if bytes(packed[at : at + 2]) == b"\x1f\x8b":
                    stream = zlib.decompressobj(window_bits)
    except zlib.error as error:
        raise ArchiveError(f"a member's content is damaged: {error}", partial=b"".join(pieces)) from error
    return b"".join(pieces)


def expand(
    new_stream: Callable[[], Decompressor], packed: memoryview, size: int, magic: bytes, on_junk: Callable[[], None]
) -> bytes:
    """Return the first bytes of what decompressors of bz2 or lzma make of the data, a new one for each stream.

    A stream that follows another begins with `magic`; without one, none does. Other bytes there are told to `on_junk`.
    """
    import lzma  # noqa: PLC0415 (rarely needed)

    pieces: list[bytes] = []
    at = 0
    try:
        for _ in range(_MAX_STREAMS):
            stream = new_stream()
            while size > 0 and not stream.eof:
                chunk = bytes(packed[at : at + _STEP_BYTES]) if stream.needs_input else b""
                at += len(chunk)
                piece = stream.decompress(chunk, size)
                if not piece and not chunk and stream.needs_input:
                    raise ArchiveError("a member's content is cut off", partial=b"".join(pieces))
                pieces.append(piece)
                size -= len(piece)
            at = _after_padding(packed, at - len(stream.unused_data), magic)
            if size <= 0 or not magic or packed[at : at + len(magic)] != magic:
                if size > 0 and bytes(packed[at:]).strip(PADDING):
                    on_junk()
                return b"".join(pieces)
    except (OSError, ValueError, EOFError, MemoryError, lzma.LZMAError) as error:
        raise ArchiveError(f"a member's content is damaged: {error}", partial=b"".join(pieces)) from error
    raise ArchiveLimitError("it is packed in more streams than are looked at", Reason.SIZE, partial=b"".join(pieces))


def _after_padding(packed: memoryview, at: int, magic: bytes) -> int:
    """Return where the zeros end that may stand behind a stream of xz (section 2.2 of its format), and of no other."""
    if magic == _XZ_MAGIC:
        while at < len(packed) and packed[at] == 0:
            rest = bytes(packed[at : at + _STEP_BYTES])
            at += len(rest) - len(rest.lstrip(b"\0"))
    return at


def ignore() -> None:
    """Do nothing about bytes behind the end."""


def bunzip(packed: memoryview, size: int, on_junk: Callable[[], None] = ignore) -> bytes:
    """Return the first bytes of what bzip2 packed."""
    import bz2  # noqa: PLC0415 (rarely needed)

    return expand(bz2.BZ2Decompressor, packed, size, _BZIP2_MAGIC, on_junk)


def unxz(packed: memoryview, size: int, on_junk: Callable[[], None] = ignore, *, is_lzma: bool = False) -> bytes:
    """Return the first bytes of an xz file or, if so said, of one in its predecessor's format."""
    import lzma  # noqa: PLC0415 (rarely needed)

    form = lzma.FORMAT_ALONE if is_lzma else lzma.FORMAT_XZ
    return expand(
        lambda: lzma.LZMADecompressor(form, memlimit=2 * _MAX_DICTIONARY_BYTES),
        packed,
        size,
        b"" if is_lzma else _XZ_MAGIC,
        on_junk,
    )


def lzma_of_zip(packed: memoryview, size: int) -> bytes:
    """Return the first bytes of a zip's member packed by method 14 (APPNOTE 5.8): LZMA behind a header of its own."""
    import lzma  # noqa: PLC0415 (rarely needed)

    header = bytes(packed[:9])
    if len(header) < 9 or header[2:4] != b"\x05\0" or header[4] >= 225:
        raise ArchiveError("a member's content is damaged: no LZMA header")
    dictionary_bytes = int.from_bytes(header[5:9], "little")
    if dictionary_bytes > _MAX_DICTIONARY_BYTES:
        raise ArchiveLimitError("unpacking takes more memory than is allowed", Reason.SIZE)
    positions, literals = divmod(header[4], 45)
    settings = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": max(dictionary_bytes, 4 * KIB),
        "pb": positions,
        "lp": literals // 9,
        "lc": literals % 9,
    }
    try:
        # There need not be a mark at the end, so that an early end can't be told.
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[settings]).decompress(bytes(packed[9:]), size)
    except (lzma.LZMAError, ValueError, EOFError, MemoryError) as error:
        raise ArchiveError(f"a member's content is damaged: {error}") from error


def by_libarchive(kind: ArchiveKind, packed: memoryview, size: int, budget: Budget) -> bytes:
    """Return the first bytes of what libarchive unpacks: zstd, lz4, lzip, compress."""
    from defang_worker.mime.archives.foreign import unpack_stream  # noqa: PLC0415 (rarely needed)

    return unpack_stream(kind, packed, size, budget)
