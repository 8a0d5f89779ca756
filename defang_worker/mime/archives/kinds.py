# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kind of archive some bytes are, whatever they are called: `archive_kind(data)`.

Goes by magic numbers. A zip is also one behind other bytes, for its readers start at its end.
"""

import re
import struct
from enum import StrEnum
from itertools import islice
from typing import Final


class ArchiveKind(StrEnum):
    """The kinds that are told apart; ACE and ARJ are recognized, but can't be looked into."""

    ZIP = "zip"
    TAR = "tar"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    LZMA = "lzma"
    ZSTD = "zstd"
    LZ4 = "lz4"
    LZIP = "lzip"
    COMPRESS = "compress"
    SEVEN_ZIP = "7z"
    RAR = "rar"
    CAB = "cab"
    ISO = "iso"
    LHA = "lha"
    AR = "ar"
    CPIO = "cpio"
    XAR = "xar"
    ACE = "ace"
    ARJ = "arj"
    MESSAGE = "message"
    """Of what is attached to a message in an archive: no archive by itself."""


_MAGICS: Final = {
    b"PK\x03\x04": ArchiveKind.ZIP,
    b"PK\x05\x06": ArchiveKind.ZIP,
    b"7z\xbc\xaf\x27\x1c": ArchiveKind.SEVEN_ZIP,
    b"Rar!\x1a\x07": ArchiveKind.RAR,
    b"RE~^": ArchiveKind.RAR,
    b"MSCF\0\0\0\0": ArchiveKind.CAB,
    b"\xfd7zXZ\0": ArchiveKind.XZ,
    b"\x28\xb5\x2f\xfd": ArchiveKind.ZSTD,
    b"\x04\x22\x4d\x18": ArchiveKind.LZ4,
    b"LZIP\x01": ArchiveKind.LZIP,
    b"!<arch>\n": ArchiveKind.AR,
    b"xar!\0": ArchiveKind.XAR,
}
# Of those that unpack themselves, a program comes first: WinRAR searches 1 MiB for the mark.
_BEHIND: Final = re.compile(rb"Rar!\x1a\x07(?:\0|\x01\0)|7z\xbc\xaf\x27\x1c\0[\0-\x04]")
_BEHIND_BYTES: Final = 1024 * 1024
_MAX_BEHIND: Final = 10
_FIRST_BYTES: Final = tuple(_MAGICS)
# What needs a second look: a digit or two of ordinary text could stand there as well.
_PATTERNS: Final = (
    (rb"\x1f\x8b\x08[\0-\x1f]", ArchiveKind.GZIP),
    (rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)", ArchiveKind.BZIP2),
    (rb"\x1f\x9d[\x89-\x90]", ArchiveKind.COMPRESS),
    # The usual properties, a dictionary from 64 KiB to 128 MiB, and a size that is unknown or below 1 TiB.
    (rb"\x5d\0\0[\0-\x80][\0-\x08](?:\xff{8}|.{5}\0\0\0)\0", ArchiveKind.LZMA),
    (rb"0707(?:01|02|07)[0-9A-Fa-f]{70}", ArchiveKind.CPIO),
    (rb".{2}-l[hz][0-9ds]-", ArchiveKind.LHA),
    # The size of the header, of its fixed part, two versions, and the system.
    (rb"\x60\xea.[\0-\x0a][\x1e-\x64].{2}[\0-\x0b]", ArchiveKind.ARJ),
    (rb".{7}\*\*ACE\*\*", ArchiveKind.ACE),
)
# All in one, for a match takes less time than a call: the group that matched tells which.
_PATTERN: Final = re.compile(b"|".join(b"(%b)" % pattern for pattern, _ in _PATTERNS), re.DOTALL)
_TAR_CHECKSUM: Final = re.compile(rb"[ 0]*([0-7]{1,6})[ \0]")
TAR_BLOCK: Final = 512
_VOLUME_AT: Final = 32_769
_ISO_9660_NAME: Final = b"CD001"
_VOLUME_NAMES: Final = (_ISO_9660_NAME, b"BEA01")
# ECMA-167 2/8.3 and 3/9.1: UDF has its descriptor in one of the sectors that follow, next to those of ISO 9660.
_SECTOR_BYTES: Final = 2_048
_UDF_NAMES: Final = (b"NSR02", b"NSR03")
_MAX_DESCRIPTORS: Final = 64
_OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_END_RECORD: Final = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_END_MAGIC: Final = b"PK\x05\x06"
# Methods of APPNOTE 4.4.5, that of encrypted members included.
_METHODS: Final = frozenset([*range(21), 93, 94, 95, 96, 97, 98, 99])
# What may be a member's header, by a version and a method that exist; for data with a million magic numbers.
LOCAL_HEADER: Final = re.compile(rb"PK\x03\x04(?=[\0-\x64].{3}[\0-\x14\x5d-\x63]\0)", re.DOTALL)
# Line ends and zeros that transports leave behind a file.
PADDING: Final = b"\0\r\n"


def archive_kind(data: bytes) -> ArchiveKind | None:
    """Return the kind of archive that `data` is, also a zip that does not start at once; None for anything else."""
    return kind_at_start(data) or (ArchiveKind.ZIP if has_zip(data) else None)


def kind_at_start(head: bytes) -> ArchiveKind | None:
    """Return the kind of archive that begins with these bytes, 34 KiB of them for an ISO image."""
    if head.startswith(_FIRST_BYTES):
        return next(kind for magic, kind in _MAGICS.items() if head.startswith(magic))
    if match := _PATTERN.match(head):
        return _PATTERNS[(match.lastindex or 1) - 1][1]
    if is_tar_header(head[:TAR_BLOCK]):
        return ArchiveKind.TAR
    return ArchiveKind.ISO if head[_VOLUME_AT : _VOLUME_AT + 5] in _VOLUME_NAMES else None


def has_udf_tree(data: bytes) -> bool:
    """Tell whether a disc image has a tree of UDF, alone or beside that of ISO 9660."""
    end = _VOLUME_AT + _MAX_DESCRIPTORS * _SECTOR_BYTES
    return any(data[at : at + 5] in _UDF_NAMES for at in range(_VOLUME_AT, end, _SECTOR_BYTES))


def is_udf_alone(data: bytes) -> bool:
    """Tell whether a disc image with UDF has no other tree."""
    return not data.startswith(_ISO_9660_NAME, _VOLUME_AT)


def starts_behind(data: bytes) -> list[int]:
    """Return where a rar or 7z may begin behind other bytes; the first ten places."""
    return [match.start() for match in islice(_BEHIND.finditer(data, 1, _BEHIND_BYTES), _MAX_BEHIND)]


def is_tar_header(block: bytes) -> bool:
    """Tell whether the 512 bytes have the checksum of a tar member's header."""
    match = _TAR_CHECKSUM.match(block, 148, 156)
    if match is None or len(block) < TAR_BLOCK:
        return False
    total = sum(block) - sum(block[148:156]) + 8 * 0x20
    # Old programs added the bytes up as signed ones.
    signed = total - 256 * sum(byte > 0x7F for byte in block[:148] + block[156:])
    return int(match[1], 8) in {total, signed} and any(block[:148])


def has_zip(data: bytes) -> bool:
    """Tell whether a zip lies somewhere in `data`: a member's header that makes sense, or a whole directory's end."""
    if data.startswith(_OLE_MAGIC):
        # Documents embed others, and a reader of zips finds those only if nothing follows them.
        return ends_as_zip(data)
    has_member = data.find(_LOCAL_MAGIC) >= 0 and any(
        is_local_header(data, match.start()) for match in LOCAL_HEADER.finditer(data)
    )
    return has_member or ends_as_zip(data)


def ends_as_zip(data: bytes) -> bool:
    """Tell whether the last bytes are the end of a zip's directory, with its comment and some padding."""
    end = len(data.rstrip(PADDING))
    at = data.rfind(_END_MAGIC, max(0, end - _END_RECORD.size - 0xFFFF))
    if at < 0 or at + _END_RECORD.size > len(data):
        return False
    *_, directory_bytes, _, comment_bytes = _END_RECORD.unpack_from(data, at)
    return bool(end <= at + _END_RECORD.size + comment_bytes <= len(data) and directory_bytes <= at)


def is_local_header(data: bytes, start: int) -> bool:
    """Tell whether the header of a zip's member at `start` makes sense: known method, a name that fits in."""
    if start + _LOCAL_HEADER.size >= len(data):
        return False
    _, version, _, method, _, _, _, _, _, name_bytes, _ = _LOCAL_HEADER.unpack_from(data, start)
    name_room = len(data) - start - _LOCAL_HEADER.size
    return bool(method in _METHODS and version & 0xFF <= 100 and 0 < name_bytes <= name_room)
