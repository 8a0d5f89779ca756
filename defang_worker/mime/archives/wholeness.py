# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an archive ends where it should: libarchive takes a cut between two members of some for their end."""

import struct
from typing import Final

from defang_worker.mime.archives.kinds import ArchiveKind

_MAGIC_4: Final = b"Rar!\x1a\x07\0"
_MAGIC_5: Final = b"Rar!\x1a\x07\x01\0"
_MAGIC_AR: Final = b"!<arch>\n"
_AR_HEADER_BYTES: Final = 60
_END_4, _END_5 = 0x7B, 5
_BLOCK_4: Final = struct.Struct("<HBHH")
# Of a block's flags: data follow, and their length stands behind the header's fixed part.
_HAS_DATA_4: Final = 0x8000
_HAS_EXTRA_5, _HAS_DATA_5 = 0x1, 0x2


def is_whole(data: bytes, kind: ArchiveKind) -> bool:
    """Tell whether a rar or ar archive goes on to its end; True for other kinds, and for what has no blocks."""
    if kind is ArchiveKind.AR:
        return _is_whole_ar(data)
    if data.startswith(_MAGIC_5):
        return _is_whole_5(data)
    return _is_whole_4(data) if data.startswith(_MAGIC_4) else True


def _is_whole_ar(data: bytes) -> bool:
    at = len(_MAGIC_AR)
    while at < len(data):
        digits = data[at + 48 : at + 58].strip()
        if at + _AR_HEADER_BYTES > len(data) or not digits.isdigit():
            return False
        size = int(digits)
        at += _AR_HEADER_BYTES + size + size % 2
    # The last filling byte may be left out.
    return at - 1 <= len(data)


def _is_whole_4(data: bytes) -> bool:
    at = len(_MAGIC_4)
    while at < len(data):
        if at + _BLOCK_4.size > len(data):
            return False
        _, kind, flags, length = _BLOCK_4.unpack_from(data, at)
        if kind == _END_4 or length < _BLOCK_4.size:
            return bool(kind == _END_4 and at + length <= len(data))
        if flags & _HAS_DATA_4:
            length += int.from_bytes(data[at + _BLOCK_4.size : at + _BLOCK_4.size + 4], "little")
        at += length
    # Old versions wrote no block for the end.
    return at == len(data)


def _is_whole_5(data: bytes) -> bool:
    at = len(_MAGIC_5)
    while at + 4 < len(data):
        header_bytes, start = _number(data, at + 4)
        kind, place = _number(data, start)
        flags, place = _number(data, place)
        if flags & _HAS_EXTRA_5:
            _, place = _number(data, place)
        data_bytes = _number(data, place)[0] if flags & _HAS_DATA_5 else 0
        at = start + header_bytes + data_bytes
        if kind == _END_5:
            return at <= len(data)
    return False


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where it ends; ten bytes at most, as in rar."""
    value = 0
    for index in range(10):
        byte = data[at + index] if at + index < len(data) else 0
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    return value, at + 10
