# SPDX-License-Identifier: GPL-3.0-or-later
"""Single compressed files as archives of one member: gzip with the name it may carry, bzip2, xz, zstd and others."""

from collections.abc import Callable, Iterator
from typing import Final

from defang_worker.mime.archives import unpack
from defang_worker.mime.archives.kinds import ArchiveKind
from defang_worker.mime.archives.model import ArchiveError, Budget, Member
from defang_worker.mime.archives.names import decode_name, is_odd, spellings

# RFC 1952, section 2.3.
_GZIP_HEADER_BYTES: Final = 10
_FLAG_EXTRA, _FLAG_NAME = 0x04, 0x08
# Their extensions, which programs take off to name the content.
_EXTENSIONS: Final = {
    ArchiveKind.GZIP: ("gz", "gzip", "z", "tgz", "taz"),
    ArchiveKind.BZIP2: ("bz2", "bz", "tbz", "tbz2", "tb2"),
    ArchiveKind.XZ: ("xz", "txz"),
    ArchiveKind.LZMA: ("lzma", "tlz"),
    ArchiveKind.ZSTD: ("zst", "zstd", "tzst"),
    ArchiveKind.LZ4: ("lz4", "tlz4"),
    ArchiveKind.LZIP: ("lz", "tlz"),
    ArchiveKind.COMPRESS: ("z", "taz"),
}
STREAM_KINDS: Final = frozenset(_EXTENSIONS)


def read_stream(data: bytes, kind: ArchiveKind, budget: Budget, filenames: tuple[str, ...] = ()) -> Iterator[Member]:
    """Yield the only member of a compressed file, which has these names itself.

    What is behind its end is found by reading up to there, and is a defect of the member from then on.
    """
    own = [_gzip_name(data)] if kind is ArchiveKind.GZIP else []
    names = spellings(*own, *(_unpacked_name(kind, filename) for filename in filenames))
    packed = memoryview(data)
    budget.take_member()

    def note_junk() -> None:
        member.defects = tuple(dict.fromkeys([*member.defects, "archive-junk"]))

    member = Member(
        kind=kind,
        names=names,
        unpack=lambda size: first_bytes(packed, kind, size, budget, note_junk),
        budget=budget,
        packed_size=len(data),
        defects=("archive-odd-member-name",) if any(is_odd(name) for name in names) else (),
    )
    yield member


def first_bytes(
    packed: memoryview, kind: ArchiveKind, size: int, budget: Budget, on_junk: Callable[[], None] = unpack.ignore
) -> bytes:
    """Return the first bytes of what is packed. Raises ArchiveError."""
    match kind:
        case ArchiveKind.GZIP:
            return unpack.inflate(packed, size, unpack.GZIP)
        case ArchiveKind.BZIP2:
            return unpack.bunzip(packed, size, on_junk)
        case ArchiveKind.XZ | ArchiveKind.LZMA:
            return unpack.unxz(packed, size, on_junk, is_lzma=kind is ArchiveKind.LZMA)
        case _:
            return unpack.by_libarchive(kind, packed, size, budget)


def _gzip_name(data: bytes) -> str:
    """Return the file's original name, or an empty string."""
    flags = data[3]
    at = _GZIP_HEADER_BYTES
    if flags & _FLAG_EXTRA:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    end = data.find(b"\0", at)
    if flags & _FLAG_NAME and end < 0:
        raise ArchiveError("the gzip file is cut off in its header")
    return decode_name(data[at:end], "latin-1") if flags & _FLAG_NAME else ""


def _unpacked_name(kind: ArchiveKind, filename: str) -> str:
    """Return the name that unpackers give to the content of a compressed file of this name; empty if they have none."""
    stem, _, last = filename.rstrip(". ").rpartition(".")
    last = last.lower()
    if not stem or last not in _EXTENSIONS[kind]:
        return ""
    return f"{stem}.tar" if last.startswith("t") else stem
