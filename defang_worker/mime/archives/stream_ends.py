# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a packed content ends by itself, whatever length is told of it: `packed_bytes`.

Programs that unpack a zip from its start go on there, so that another member may follow. Only asked where one seems
to, as unpacking is all that tells; `zip.py` does.
"""

import zlib
from typing import Final

from defang_worker.mime.archives.model import Allowance, ArchiveLimitError, Reason
from defang_worker.mime.archives.unpack import RAW_DEFLATE, Decompressor
from defang_worker.mime.tree import KIB, MIB

_STEP_BYTES: Final = 256 * KIB


def packed_bytes(packed: memoryview, method: int, allowance: Allowance) -> int | None:
    """Return how many of the bytes belong to a stream of this method of zip's.

    All if it has no end there; None if that can't be told, as of damaged ones, which are found when they are read.
    Raises ArchiveLimitError if it takes too much unpacking.
    """
    try:
        match method:
            case 8:
                return _deflated(packed, allowance)
            case 12:
                import bz2  # noqa: PLC0415 (rarely needed)

                return _streamed(bz2.BZ2Decompressor(), packed, allowance)
            case 95:
                import lzma  # noqa: PLC0415 (rarely needed)

                try:
                    return _streamed(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 * MIB), packed, allowance)
                except lzma.LZMAError:
                    return None
            case _:
                return None
    except (zlib.error, OSError, ValueError, EOFError, MemoryError):
        return None


def _deflated(packed: memoryview, allowance: Allowance) -> int:
    stream = zlib.decompressobj(RAW_DEFLATE)
    at = 0
    while not stream.eof:
        chunk = stream.unconsumed_tail or bytes(packed[at : at + _STEP_BYTES])
        at += 0 if stream.unconsumed_tail else len(chunk)
        piece = stream.decompress(chunk, _STEP_BYTES)
        _take(allowance, len(piece))
        if not piece and not chunk and not stream.eof:
            return len(packed)
    return at - len(stream.unused_data)


def _streamed(stream: Decompressor, packed: memoryview, allowance: Allowance) -> int:
    at = 0
    while not stream.eof:
        chunk = bytes(packed[at : at + _STEP_BYTES]) if stream.needs_input else b""
        at += len(chunk)
        piece = stream.decompress(chunk, _STEP_BYTES)
        _take(allowance, len(piece))
        if not piece and not chunk and stream.needs_input:
            return len(packed)
    return at - len(stream.unused_data)


def _take(allowance: Allowance, count: int) -> None:
    allowance.left -= count
    if allowance.left < 0:
        raise ArchiveLimitError("its members expand to more than is allowed", Reason.SIZE)
