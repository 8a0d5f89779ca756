# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of what an archive holds, archives within it included.

Zip so far. An archive that is damaged, or too big to be looked through, raises `ArchiveError`: it never
reads as an empty one. Names of encrypted members are visible, their contents are not.
"""

import io
import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Final

from defang_worker.mime.tree import KIB, MIB, Entity

_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_ENCRYPTED: Final = 0x1
_UTF8_NAME: Final = 0x800
_CENTRAL_RECORD: Final = b"PK\x01\x02"
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_ZIP_MAGICS: Final = (_LOCAL_MAGIC, b"PK\x05\x06")
# Small archives may well shrink by more than the ratio allows: a file of zeros does no harm.
_RATIO_FREE_BYTES: Final = 1 * MIB
_ZIP_SUFFIXES: Final = (".zip", ".jar", ".docx", ".xlsx", ".pptx", ".docm", ".xlsm", ".pptm", ".apk", ".xpi")


class ArchiveError(Exception):
    """The archive can't be read: it is damaged, or none at all."""


class ArchiveLimitError(ArchiveError):
    """The archive is too big, too deep or too well packed to be looked through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """How far an archive is looked into; beyond, `ArchiveLimitError` is raised."""

    max_members: int = 10_000
    max_depth: int = 5
    # Nested archives only are expanded, and only one at a time.
    max_expanded_bytes: int = 100 * MIB
    # Bombs pack by 1,000 and more; deflate can't do better than 1,032.
    max_ratio: int = 200


@dataclass(slots=True)
class _Budget:
    """What is left of the limits for one archive and all archives within it."""

    members: int
    expanded_bytes: int


def member_names(archive: bytes | Entity, limits: ArchiveLimits | None = None) -> list[str]:
    """Return the names of all members of a zip, each spelling of them, and of the zips within it.

    A nested zip is recognized by its content, whatever its name. Raises ArchiveError.
    """
    data = archive.content if isinstance(archive, Entity) else archive
    limits = limits or ArchiveLimits()
    budget = _Budget(limits.max_members, limits.max_expanded_bytes)
    names: list[str] = []
    waiting: list[tuple[bytes, int]] = [(data, 1)]
    while waiting:
        data, depth = waiting.pop()
        if depth > limits.max_depth:
            raise ArchiveLimitError(f"archives nested more than {limits.max_depth} deep")
        inner = _read_zip(data, names, budget, limits)
        waiting.extend((content, depth + 1) for content in inner)
    return list(dict.fromkeys(names))


def _read_zip(data: bytes, names: list[str], budget: _Budget, limits: ArchiveLimits) -> list[bytes]:
    """Add the names of one zip's members to `names`; return the zips among the members."""
    # Before zipfile makes an object of each: the directory may be most of a big file.
    budget.members -= data.count(_CENTRAL_RECORD)
    if budget.members < 0:
        raise ArchiveLimitError(f"more than {limits.max_members} members")
    inner: list[bytes] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                names += (info.filename, info.orig_filename)
                local_name, flags, payload = _local_entry(data, info)
                names.append(local_name)
                # Where the two directories differ about encryption, an unpacker may believe either.
                if not info.flag_bits & flags & _ENCRYPTED:
                    room = _Room(budget, limits, len(payload))
                    content = _nested_zip(archive, info, payload, room)
                    if content is not None:
                        budget.expanded_bytes -= len(content)
                        inner.append(content)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, ValueError, OSError, EOFError) as error:
        raise ArchiveError(f"damaged zip: {error}") from error
    except (NotImplementedError, RuntimeError) as error:
        raise ArchiveError(f"zip that can't be read: {error}") from error
    return inner


def _local_entry(data: bytes, info: zipfile.ZipInfo) -> tuple[str, int, bytes]:
    """Return name and flags of the header before a member's data, which may differ from the directory's; and the data.

    Raises BadZipFile.
    """
    start = info.header_offset
    header = data[start : start + _LOCAL_HEADER.size] if start >= 0 else b""
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_MAGIC):
        raise zipfile.BadZipFile("a member is missing")
    fields = _LOCAL_HEADER.unpack(header)
    flags, name_bytes, extra_bytes = fields[2], fields[9], fields[10]
    name_start = start + _LOCAL_HEADER.size
    payload_start = name_start + name_bytes + extra_bytes
    payload = data[payload_start : payload_start + info.compress_size]
    if len(payload) < info.compress_size:
        raise zipfile.BadZipFile("a member is cut off")
    name = data[name_start : name_start + name_bytes]
    return name.decode("utf-8" if flags & _UTF8_NAME else "cp437", "replace"), flags, payload


@dataclass(frozen=True, slots=True)
class _Room:
    """How far one member may be expanded."""

    budget: _Budget
    limits: ArchiveLimits
    packed_bytes: int

    def allowed_bytes(self) -> int:
        by_ratio = max(_RATIO_FREE_BYTES, self.limits.max_ratio * self.packed_bytes)
        return min(by_ratio, self.budget.expanded_bytes)

    def check(self, expanded_bytes: int) -> None:
        if expanded_bytes > self.allowed_bytes():
            raise ArchiveLimitError("a nested archive expands to more than is allowed")


def _nested_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, payload: bytes, room: _Room) -> bytes | None:
    """Return a member's content if that is a zip, else None."""
    match info.compress_type:
        case zipfile.ZIP_STORED:
            room.check(len(payload))
            return payload if payload.startswith(_ZIP_MAGICS) else None
        case zipfile.ZIP_DEFLATED:
            return _inflate(payload, room) if _inflated_start(payload).startswith(_ZIP_MAGICS) else None
        case zipfile.ZIP_BZIP2 | zipfile.ZIP_LZMA:
            with archive.open(info) as member:
                start = member.read(len(_LOCAL_MAGIC))
                if not start.startswith(_ZIP_MAGICS):
                    return None
                content = start + member.read(room.allowed_bytes() + 1)
                room.check(len(content))
                return content
        case method if info.filename.lower().endswith(_ZIP_SUFFIXES):
            raise ArchiveError(f"an archive within is packed by method {method}, which can't be read")
        case _:
            return None


def _inflated_start(payload: bytes) -> bytes:
    """Return the first bytes of deflated data, enough to tell a zip; empty blocks may come before them."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    start = b""
    for at in range(0, len(payload), 64 * KIB):
        start += stream.decompress(payload[at : at + 64 * KIB], len(_LOCAL_MAGIC) - len(start))
        if len(start) >= len(_LOCAL_MAGIC) or stream.eof:
            break
    return start


def _inflate(payload: bytes, room: _Room) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    content = stream.decompress(payload, room.allowed_bytes() + 1)
    room.check(len(content))
    if not stream.eof:
        raise zipfile.BadZipFile("a nested archive is cut off")
    return content
