# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether bytes that begin as an archive does are one, however damaged, or begin so by chance: `is_archive`.

Any file may begin with the two to six bytes that mark an archive. Checksums and sizes that fit, or content that
comes out, tell; `walk.py` asks, unless a name or a type calls the bytes an archive anyway.
"""

import re
import struct
import zlib
from typing import Final

from defang_worker.mime.archives.kinds import ArchiveKind, has_zip
from defang_worker.mime.archives.model import ArchiveError, Budget
from defang_worker.mime.archives.streams import STREAM_KINDS, first_bytes
from defang_worker.mime.tree import KIB

# Chance yields a few bytes before the first error, but not so many.
_ENOUGH_BYTES: Final = 64
# These come out in blocks, of up to 128 KiB and 4 MiB; of larger files the first one may be cut off.
_BLOCK_KINDS: Final = frozenset({ArchiveKind.ZSTD, ArchiveKind.LZ4})
_LARGE_BYTES: Final = 32 * KIB
# What follows the magic of kinds that have no checksum there.
_HEADERS: Final = {
    # Reserved numbers are zero, the format's version is 1.3 ([MS-CAB] 2.1).
    ArchiveKind.CAB: re.compile(rb"MSCF\0{4}.{4}\0{4}.{4}\0{4}\x03\x01", re.DOTALL),
    ArchiveKind.ISO: re.compile(rb".{32768}[\0-\x03\xff](?:CD001\x01|BEA01)", re.DOTALL),
    # Each member's header ends in the same two bytes, its numbers are decimal digits.
    ArchiveKind.AR: re.compile(rb"!<arch>\n.{16}[0-9 ]{24}[0-7 ]{8}[0-9 ]{10}`\n", re.DOTALL),
    ArchiveKind.XAR: re.compile(rb"xar!\0.\0\x01", re.DOTALL),
    # The header's level at the same place in all of them.
    ArchiveKind.LHA: re.compile(rb".{2}-l[hz][0-9ds]-.{13}[\0-\x03]", re.DOTALL),
    ArchiveKind.BZIP2: re.compile(rb"BZh[1-9]"),  # six more bytes were looked at
}
_PROVEN_BY_MAGIC: Final = frozenset({ArchiveKind.TAR, ArchiveKind.CPIO, ArchiveKind.ACE})
_RAR_4: Final = b"Rar!\x1a\x07\0"
_RAR_5: Final = b"Rar!\x1a\x07\x01\0"
# The longest first header of a RAR 5 archive, and the longest of ARJ.
_MAX_HEADER_BYTES: Final = 4_096


def is_archive(data: bytes, kind: ArchiveKind, budget: Budget) -> bool:
    """Tell whether `data`, of this kind by their first bytes, are so by others, too; 34 KiB of them are enough.

    Raises ArchiveError if the budget is exhausted.
    """
    if kind in _PROVEN_BY_MAGIC:
        return True
    if kind is ArchiveKind.ZIP:
        return has_zip(data)
    pattern = _HEADERS.get(kind)
    if pattern is not None:
        return pattern.match(data) is not None
    if _has_checksum(data, kind):
        return True
    return kind in STREAM_KINDS and _yields_content(data, kind, budget)


def _has_checksum(data: bytes, kind: ArchiveKind) -> bool:
    match kind:
        case ArchiveKind.SEVEN_ZIP:
            return len(data) >= 32 and _number(data[8:12]) == zlib.crc32(data[12:32])
        case ArchiveKind.RAR if data.startswith(_RAR_5):
            header_bytes, at = data[12:13], 13
            while header_bytes[-1:] >= b"\x80" and at < 15:
                header_bytes, at = header_bytes + data[at : at + 1], at + 1
            size = sum((byte & 0x7F) << 7 * index for index, byte in enumerate(header_bytes))
            return 0 < size <= _MAX_HEADER_BYTES and _number(data[8:12]) == zlib.crc32(data[12 : at + size])
        case ArchiveKind.RAR if data.startswith(_RAR_4):
            size = _number(data[12:14])
            return size >= 13 and _number(data[7:9]) == zlib.crc32(data[9 : 7 + size]) & 0xFFFF
        case ArchiveKind.ARJ:
            size = _number(data[2:4])
            end = 4 + size
            return size <= _MAX_HEADER_BYTES and _number(data[end : end + 4]) == zlib.crc32(data[4:end])
        case ArchiveKind.XZ:
            return len(data) >= 12 and struct.unpack_from("<I", data, 8)[0] == zlib.crc32(data[6:8])
    return False


def _number(field: bytes) -> int:
    return int.from_bytes(field, "little")


def _yields_content(data: bytes, kind: ArchiveKind, budget: Budget) -> bool:
    """Tell whether something can be unpacked, or whether there is rightly nothing."""
    try:
        with budget.working():
            first_bytes(memoryview(data), kind, _ENOUGH_BYTES, budget)
    except ArchiveError as error:
        is_cut = kind in _BLOCK_KINDS and len(data) > _LARGE_BYTES
        return is_cut or len(error.partial) >= _ENOUGH_BYTES
    return True
