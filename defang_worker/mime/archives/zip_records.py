# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of a zip (PKWARE's APPNOTE.TXT 4.3), each read where it stands; `zip.py` makes sense of them."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from defang_worker.mime.archives.kinds import is_local_header
from defang_worker.mime.archives.names import decode_name

LOCAL_MAGIC: Final = b"PK\x03\x04"
CENTRAL_MAGIC: Final = b"PK\x01\x02"
END_MAGIC: Final = b"PK\x05\x06"
_DESCRIPTOR_MAGIC: Final = b"PK\x07\x08"
_END64_MAGIC: Final = b"PK\x06\x06"
_LOCATOR64_MAGIC: Final = b"PK\x06\x07"
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64_BYTES: Final = 20
_LOCATOR64: Final = struct.Struct("<Q")
_UNICODE_PATH: Final = 0x7075
_ZIP64: Final = 0x0001
_IN_ZIP64: Final = 0xFFFFFFFF
ANY_RECORD: Final = re.compile(rb"PK(?:\x03\x04|\x01\x02|\x05\x06|\x07\x08)")

# WinZip's encryption; the true method stands in an extra field.
_AES_METHOD: Final = 99
FLAG_ENCRYPTED: Final = 0x1
FLAG_DESCRIPTOR: Final = 0x8
FLAG_STRONG: Final = 0x40
_FLAG_UTF8: Final = 0x800


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a member's own header and its record in the directory both say."""

    name: bytes
    flags: int
    method: int
    packed: int
    size: int
    unicode_paths: tuple[str, ...]
    """The names in extra fields 0x7075."""
    repeats_fields: bool
    """Whether a field for names or sizes is there twice: some programs go by the first, some by the last."""
    start: int
    """Where the member's own header is, or should be."""
    end: int
    """Where this record ends."""

    @property
    def text(self) -> str:
        """The name as text."""
        if self.flags & _FLAG_UTF8:
            return self.name.decode("utf-8", "replace")
        return decode_name(self.name, "cp437")

    @property
    def is_encrypted(self) -> bool:
        """Whether its content is said to be encrypted."""
        return bool(self.flags & (FLAG_ENCRYPTED | FLAG_STRONG)) or self.method == _AES_METHOD


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRecord:
    """The end of a directory, and where the directory is."""

    start: int
    """Where it begins, the zip64 records before it included."""
    comment: tuple[int, int]
    count: int
    directories: tuple[tuple[int, int], ...]
    """The length of the directory and its offset; again where zip64 and the older fields tell of different ones."""


def read_local(data: bytes, start: int) -> Header | None:
    """Return the header at `start`, if there is one that makes sense."""
    if not data.startswith(LOCAL_MAGIC, start) or start < 0 or not is_local_header(data, start):
        return None
    _, _, flags, method, _, _, _, packed, size, name_bytes, extra_bytes = _LOCAL.unpack_from(data, start)
    name_at = start + _LOCAL.size
    end = name_at + name_bytes + extra_bytes
    if end > len(data):
        return None
    name = data[name_at : name_at + name_bytes]
    extra = list(_extra_fields(data[name_at + name_bytes : end]))
    size, packed, _ = _widen(extra, size, packed, 0)
    return Header(
        name=name, flags=flags, method=method, packed=packed, size=size,
        unicode_paths=_unicode_paths(extra), repeats_fields=_repeats(extra), start=start, end=end,
    )  # fmt: skip


def read_central(data: bytes, at: int, shift: int) -> Header | None:
    """Return the directory's record at `at`, if there is one; all offsets in it are `shift` too small."""
    if not data.startswith(CENTRAL_MAGIC, at) or at + _CENTRAL.size > len(data):
        return None
    fields = _CENTRAL.unpack_from(data, at)
    flags, method, packed, size = fields[3], fields[4], fields[8], fields[9]
    name_bytes, extra_bytes, comment_bytes, offset = fields[10], fields[11], fields[12], fields[16]
    name_at = at + _CENTRAL.size
    end = name_at + name_bytes + extra_bytes + comment_bytes
    if end > len(data):
        return None
    extra = list(_extra_fields(data[name_at + name_bytes : name_at + name_bytes + extra_bytes]))
    size, packed, offset = _widen(extra, size, packed, offset)
    return Header(
        name=data[name_at : name_at + name_bytes], flags=flags, method=method, packed=packed, size=size,
        unicode_paths=_unicode_paths(extra), repeats_fields=_repeats(extra), start=offset + shift, end=end,
    )  # fmt: skip


def read_end(data: bytes, at: int) -> EndRecord | None:
    """Return the end record at `at`, with what zip64 adds to it, if it is whole."""
    if at < 0 or at + _END.size > len(data):
        return None
    _, _, _, _, count, directory_bytes, offset, comment_bytes = _END.unpack_from(data, at)
    comment = (at + _END.size, min(at + _END.size + comment_bytes, len(data)))
    start = at
    directories: dict[tuple[int, int], None] = {}
    locator = at - _LOCATOR64_BYTES
    if locator >= 0 and data.startswith(_LOCATOR64_MAGIC, locator):
        # Some programs look where the locator points, others right before it.
        for end64 in dict.fromkeys((locator - _END64.size, *_LOCATOR64.unpack_from(data, locator + 8))):
            if 0 <= end64 <= locator - _END64.size and data.startswith(_END64_MAGIC, end64):
                _, record_bytes, *_, count, wide_bytes, wide_offset = _END64.unpack_from(data, end64)
                directories[wide_bytes, wide_offset] = None
                if locator in {end64 + _END64.size, end64 + 12 + record_bytes}:
                    start = end64
                classic_bytes = wide_bytes if directory_bytes == _IN_ZIP64 else directory_bytes
                classic_offset = wide_offset if offset == _IN_ZIP64 else offset
                directories[classic_bytes, classic_offset] = None
    if not directories:
        directories[directory_bytes, offset] = None
    return EndRecord(start=start, comment=comment, count=count, directories=tuple(directories))


def descriptor_bytes(data: bytes, at: int, packed: int, size: int) -> int:
    """Return the length of the data descriptor at `at`, which repeats the sizes; 0 if there is none."""
    for form in ("<4sI2I", "<4sI2Q", "<I2I", "<I2Q"):
        record = struct.Struct(form)
        if at + record.size <= len(data):
            fields = record.unpack_from(data, at)
            if fields[-2:] == (packed, size) and (len(fields) == 3 or fields[0] == _DESCRIPTOR_MAGIC):
                return record.size
    return 0


def streamed_bytes(data: bytes, start: int, end: int) -> int:
    """Return the length of a packed content at `start` whose header doesn't tell it: up to the next record."""
    for match in ANY_RECORD.finditer(data, start, end):
        length = match.start() - start
        if match[0] != _DESCRIPTOR_MAGIC or int.from_bytes(data[match.end() + 4 : match.end() + 8], "little") == length:
            return length
    return end - start


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _widen(extra: list[tuple[int, bytes]], size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Replace the values that didn't fit by those of the zip64 field, in which only these stand (APPNOTE 4.5.3)."""
    for kind, field in extra:
        if kind == _ZIP64:
            wide = iter(value for (value,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8]))
            values = [size, packed, offset]
            size, packed, offset = (next(wide, value) if value == _IN_ZIP64 else value for value in values)
    return size, packed, offset


def _unicode_paths(extra: list[tuple[int, bytes]]) -> tuple[str, ...]:
    """Return the names of APPNOTE 4.6.9. They are to count only if a checksum fits, but not all unpackers look."""
    if not extra:
        return ()
    return tuple(field[5:].decode("utf-8", "replace") for kind, field in extra if kind == _UNICODE_PATH and field[5:])


def _repeats(extra: list[tuple[int, bytes]]) -> bool:
    kinds = [kind for kind, _ in extra]
    return kinds.count(_UNICODE_PATH) > 1 or kinds.count(_ZIP64) > 1
