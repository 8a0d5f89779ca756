# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of a tar: ustar (POSIX.1-1988), pax (POSIX.1-2001) and GNU's extensions.

Not by `tarfile`, which takes a damaged header for the end of the archive, knows one name of each member only, and
has needed repairs of endless loops.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from defang_worker.mime.archives.kinds import PADDING, TAR_BLOCK, ArchiveKind, is_tar_header
from defang_worker.mime.archives.model import ArchiveError, ArchiveLimitError, Budget, Member, Unpack
from defang_worker.mime.archives.names import decode_name, is_odd, mean_the_same, spellings
from defang_worker.mime.tree import MIB

# Of a long name or a set of pax records.
_MAX_RECORD_BYTES: Final = 1 * MIB
_PAX_LENGTH: Final = re.compile(rb"(\d{1,8}) ")
_PAX_NAMES: Final = (b"path", b"GNU.sparse.name")
_HEADER_NAME_BYTES: Final = 100
_USTAR_MAGIC: Final = b"ustar\0"
# Type flags: long names, long link names, pax records, Solaris' and those for all members that follow.
_EXTENSIONS: Final = (b"L", b"K", b"x", b"X", b"g")
# Links, devices, folders and pipes. If they claim a size, bsdtar and others read on behind the header, GNU tar and
# 7-Zip behind the content that there would be.
_WITHOUT_CONTENT: Final = (b"1", b"2", b"3", b"4", b"5", b"6")
_GNU_SPARSE: Final = b"S"
_SPARSE_ENTRY_BYTES: Final = 24
_USED: Final = re.compile(rb"[^\0\r\n]")


@dataclass(slots=True)
class _Extensions:
    """What extension headers say of the next member, or in pax's `g` of all that follow."""

    names: list[str] = field(default_factory=list)
    size: int | None = None


class TarReader:
    """Goes through the members of one tar; `defects` is complete then."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self.defects: dict[str, None] = {}
        self._data = data
        self._view = memoryview(data)
        self._budget = budget
        self._for_all = _Extensions()
        self._for_next = _Extensions()
        self._known: set[int] = set()
        """Where a header was read, or was looked for."""
        self._elsewhere: list[int] = []
        """Where some programs read on."""

    def __iter__(self) -> Iterator[Member]:
        damage = None
        try:
            yield from self._read()
        except ArchiveLimitError:
            raise
        except ArchiveError as error:
            damage = error
        while self._elsewhere:
            for member in self._read_elsewhere(self._elsewhere.pop()):
                self.defects["archive-junk"] = None
                yield member
        if damage is not None:
            raise damage

    def _read(self) -> Iterator[Member]:
        at = 0
        is_closed = False
        while at < len(self._data):
            block = self._data[at : at + TAR_BLOCK]
            if not block.strip(PADDING):
                is_closed = True
                at = self._next_used_block(at)
                if at < len(self._data):
                    # Behind its end; some programs go on reading if asked to.
                    self.defects["archive-junk"] = None
            elif is_tar_header(block):
                is_closed = False
                member, at = self._read_member(block, at)
                if member is not None:
                    yield member
            elif is_closed:
                return
            else:
                raise ArchiveError("the tar has a damaged header")
        if not is_closed:
            raise ArchiveError("the tar is cut off")

    def _read_elsewhere(self, at: int) -> Iterator[Member]:
        """Yield the members from here on, up to one that is known; what is no header is skipped, as GNU tar does."""
        self._for_next = _Extensions()
        while at < len(self._data) and at not in self._known:
            block = self._data[at : at + TAR_BLOCK]
            member = None
            if is_tar_header(block):
                try:
                    member, at = self._read_member(block, at)
                except ArchiveLimitError:
                    raise
                except ArchiveError:
                    at += TAR_BLOCK
            else:
                self._known.add(at)
                at += TAR_BLOCK
            if member is not None:
                yield member

    def _read_member(self, block: bytes, at: int) -> tuple[Member | None, int]:
        """Return the member whose header stands here, or None for an extension of it, and where the next one does."""
        self._known.add(at)
        pieces, start = self._sparse_pieces(block, at + TAR_BLOCK)
        size = self._size(block)
        end = start + _in_blocks(size)
        if block[156:157] in _WITHOUT_CONTENT:
            if size > 0:
                self._elsewhere.append(end)
            size, end = 0, start
        return self._member(block, start, size, pieces), end

    def _next_used_block(self, at: int) -> int:
        match = _USED.search(self._data, at)
        return match.start() // TAR_BLOCK * TAR_BLOCK if match else len(self._data)

    def _size(self, block: bytes) -> int:
        """Return the size of the content that follows a header, as it claims."""
        size = _number(block[124:136])
        if self._for_next.size is not None and block[156:157] not in _EXTENSIONS:
            size = self._for_next.size
        if size < 0 and block[156:157] in _WITHOUT_CONTENT:
            size = 0
        if size < 0:
            raise ArchiveError("the tar has a damaged header")
        return size

    def _sparse_pieces(self, block: bytes, start: int) -> tuple[list[tuple[int, int]] | None, int]:
        """Return where the pieces of a sparse file in GNU's old format belong, and where its content begins.

        The header has room for four, and blocks of their own behind it for 21 more each.
        """
        if block[156:157] != _GNU_SPARSE:
            return None, start
        pieces = _sparse_entries(block[386:482])
        is_extended = block[482]
        while is_extended and start < len(self._data):
            more = self._data[start : start + TAR_BLOCK].ljust(TAR_BLOCK, b"\0")
            pieces += _sparse_entries(more[:504])
            is_extended = more[504]
            start += TAR_BLOCK
        return pieces, start

    def _member(self, block: bytes, start: int, size: int, pieces: list[tuple[int, int]] | None) -> Member | None:
        """Return the member with this header, or take in what an extension header says."""
        kind = block[156:157]
        self._budget.take_member()
        if kind in _EXTENSIONS:
            if size > _MAX_RECORD_BYTES or start + size > len(self._data):
                raise ArchiveError("the tar has a damaged header")
            self._extend(kind, self._data[start : start + size])
            return None
        extensions, self._for_next = self._for_next, _Extensions()
        names = _names(block, [*self._for_all.names, *extensions.names])
        return Member(
            kind=ArchiveKind.TAR,
            names=names,
            unpack=self._unpacker(start, size, pieces),
            budget=self._budget,
            size=size if pieces is None else _number(block[483:495]),
            packed_size=size,
            is_directory=kind == b"5" or (bool(names) and names[0].endswith("/") and size == 0),
            defects=("archive-odd-member-name",) if any(is_odd(name) for name in names) else (),
        )

    def _extend(self, kind: bytes, record: bytes) -> None:
        """Take in a long name of GNU's, or pax records."""
        if kind == b"L":
            self._for_next.names.append(_text(record.rstrip(b"\0")))
        elif kind in {b"x", b"X", b"g"}:
            target = self._for_all if kind == b"g" else self._for_next
            for key, value in _pax_records(record):
                if key in _PAX_NAMES:
                    target.names.append(_text(value))
                elif key == b"size" and value.isdigit():
                    target.size = int(value[:20])

    def _unpacker(self, start: int, size: int, pieces: list[tuple[int, int]] | None) -> Unpack:
        def unpack(wanted: int) -> bytes:
            needed = min(size, wanted)
            if start + needed > len(self._data):
                partial = bytes(self._view[start : start + needed]) if pieces is None else b""
                raise ArchiveError("a member of the tar is cut off", partial=partial)
            if pieces is None:
                return bytes(self._view[start : start + needed])
            return _with_holes(self._view[start : start + size], pieces, wanted)

        return unpack


def _names(block: bytes, extended: list[str]) -> tuple[str, ...]:
    """Return a member's names; the header's own is one of them unless it is a stand-in for an extension's."""
    own = _text(block[:_HEADER_NAME_BYTES].partition(b"\0")[0])
    if block[257:263] == _USTAR_MAGIC and (prefix := _text(block[345:500].partition(b"\0")[0])):
        own = f"{prefix}/{own}"
    names = list(reversed(extended))
    if not any(name.startswith(own) or mean_the_same(own, name) for name in names):
        names.append(own)
    return spellings(*names)


def _pax_records(record: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keyword and value of each record: `LENGTH KEYWORD=VALUE`, a line end, the length that of all of it."""
    at = 0
    while match := _PAX_LENGTH.match(record, at):
        end = at + int(match[1])
        keyword, equals, value = record[match.end() : end - 1].partition(b"=")
        if end <= match.end() or not equals:
            return
        yield keyword, value
        at = end


def _in_blocks(size: int) -> int:
    return -(-size // TAR_BLOCK) * TAR_BLOCK


def _number(field_bytes: bytes) -> int:
    """Return a number in octal digits, or in GNU's binary form for large and negative ones."""
    if field_bytes[0] & 0x80:
        value = int.from_bytes(field_bytes, "big") & ~(0x80 << 8 * (len(field_bytes) - 1))
        return -1 if field_bytes[0] == 0xFF else value
    digits = field_bytes.strip(b"\0 ")
    try:
        return int(digits.partition(b"\0")[0] or b"0", 8)
    except ValueError:
        return -1


def _sparse_entries(table: bytes) -> list[tuple[int, int]]:
    """Return offset and size of each piece that a table lists."""
    entries = (table[at : at + _SPARSE_ENTRY_BYTES] for at in range(0, len(table), _SPARSE_ENTRY_BYTES))
    half = _SPARSE_ENTRY_BYTES // 2
    return [(_number(entry[:half]), _number(entry[half:])) for entry in entries if entry.strip(b"\0")]


def _with_holes(packed: memoryview, pieces: list[tuple[int, int]], wanted: int) -> bytes:
    """Return the first bytes of a sparse file, its holes filled with zeros."""
    content = bytearray()
    at = 0
    for offset, size in pieces:
        if not len(content) <= offset or size < 0:
            raise ArchiveError("a sparse member of the tar is damaged")
        content += bytes(min(offset, wanted) - len(content))
        if len(content) >= wanted:
            break
        content += packed[at : at + size]
        at += size
    content += packed[at:]
    return bytes(content[:wanted])


def _text(name: bytes) -> str:
    return decode_name(name, "latin-1")
