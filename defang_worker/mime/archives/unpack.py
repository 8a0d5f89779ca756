# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacking the first bytes of a packed content, as many as are wanted and no more: `inflate`, `expand`, `lzma_of_zip`.

A content that ends too early, or is damaged before the bytes wanted are there, raises ArchiveError, which has what
could be unpacked.
"""

import zlib
from typing import Final, Protocol

from defang_worker.mime.archives.kinds import ArchiveKind
from defang_worker.mime.archives.model import ArchiveError, ArchiveLimitError, Budget, Reason
from defang_worker.mime.tree import KIB, MIB

RAW_DEFLATE: Final = -zlib.MAX_WBITS
GZIP: Final = 16 + zlib.MAX_WBITS
_STEP_BYTES: Final = 64 * KIB
# The dictionary is allocated at once; xz -9 has 64 MiB.
_MAX_DICTIONARY_BYTES: Final = 128 * MIB


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


def expand(stream: Decompressor, packed: memoryview, size: int) -> bytes:
    """Return the first bytes of what a decompressor of bz2 or lzma makes of the data."""
    pieces: list[bytes] = []
    at = 0
    try:
        while size > 0 and not stream.eof:
            chunk = bytes(packed[at : at + _STEP_BYTES]) if stream.needs_input else b""
            at += len(chunk)
            piece = stream.decompress(chunk, size)
            if not piece and not chunk and stream.needs_input:
                raise ArchiveError("a member's content is cut off", partial=b"".join(pieces))
            pieces.append(piece)
            size -= len(piece)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise ArchiveError(f"a member's content is damaged: {error}", partial=b"".join(pieces)) from error
    return b"".join(pieces)


def bunzip(packed: memoryview, size: int) -> bytes:
    """Return the first bytes of what bzip2 packed; of the first stream only, as most programs write just one."""
    import bz2  # noqa: PLC0415 (rarely needed)

    return expand(bz2.BZ2Decompressor(), packed, size)


def unxz(packed: memoryview, size: int, *, is_lzma: bool = False) -> bytes:
    """Return the first bytes of an xz file or, if so said, of one in its predecessor's format."""
    import lzma  # noqa: PLC0415 (rarely needed)

    form = lzma.FORMAT_ALONE if is_lzma else lzma.FORMAT_XZ
    try:
        return expand(lzma.LZMADecompressor(form, memlimit=2 * _MAX_DICTIONARY_BYTES), packed, size)
    except lzma.LZMAError as error:
        raise ArchiveError(f"a member's content is damaged: {error}") from error


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
