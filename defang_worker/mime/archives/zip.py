# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of a zip in all readings: those of every directory, and those that only have a header of their own.

Some unpackers go by the directory at the end, some by the headers in front of the members, and carvers take what
they find. So every byte has to belong to a record; what does not is looked through for more records.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from defang_worker.mime.archives import unpack
from defang_worker.mime.archives.kinds import LOCAL_HEADER, PADDING, ArchiveKind
from defang_worker.mime.archives.model import (
    ArchiveEncryptedError,
    ArchiveError,
    ArchiveLimitError,
    Budget,
    Member,
    Reason,
    Unpack,
)
from defang_worker.mime.archives.names import is_odd, mean_the_same, spellings
from defang_worker.mime.archives.stream_ends import packed_bytes
from defang_worker.mime.archives.zip_records import (
    ANY_RECORD,
    CENTRAL_MAGIC,
    END_MAGIC,
    FLAG_DESCRIPTOR,
    LOCAL_MAGIC,
    EndRecord,
    Header,
    descriptor_bytes,
    read_central,
    read_end,
    read_local,
    streamed_bytes,
)

# Two are a trick already.
_MAX_DIRECTORIES: Final = 100
# What is looked at to find a member's header.
_HEADER_START_BYTES: Final = 10
# Between the others may stand: a split zip's mark, a data descriptor that tells other sizes, the directory's
# signature and its extra data (APPNOTE 4.3.11, 4.3.13), and Android's signing block, which ends in its magic.
_LEGAL_BETWEEN: Final = (b"PK\x07\x08", b"PK00", b"PK\x05\x05", b"PK\x06\x08")
_LEGAL_BETWEEN_BYTES: Final = 24
_ANDROID_MAGIC: Final = b"APK Sig Block 42"


class ZipReader:
    """Reads the records of one zip; then `members`, `defects` and `error` tell what was found."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self.members: list[Member] = []
        self.defects: dict[str, None] = {}
        self.error: ArchiveError | None = None
        self._data = data
        self._view = memoryview(data)
        self._budget = budget
        self._directories = 0
        self._marks = [match.start() for match in LOCAL_HEADER.finditer(data)]
        """Where members' own headers may be, in any content, too."""
        self._spans: list[tuple[int, int]] = []
        """What belongs to some record."""
        self._unlisted: dict[int, Header] = {}
        """By their places, the members' own headers that no directory has mentioned yet."""
        try:
            self._read()
        except ArchiveLimitError as error:
            self.error = error

    def _read(self) -> None:
        """Go through the zip as most readers do, from its end; then through what that left over, from the start."""
        record = read_end(self._data, self._data.rfind(END_MAGIC))
        if record is not None and not self._data[record.comment[1] :].strip(PADDING):
            self._read_directory(record)
        self._read_unlisted()
        while (record := self._last_end()) is not None:
            self._read_directory(record)
        directories = self._directories
        self._read_stray_directories()
        for header in self._unlisted.values():
            self._add(None, header)
        if directories == 0:
            self._fail("the zip has no directory")
            self.defects["archive-truncated"] = None
        elif directories > 1 or self._unlisted or self._has_junk():
            self.defects["archive-junk"] = None

    def _fail(self, message: str, reason: Reason = Reason.DAMAGED) -> None:
        if self.error is None:
            kind = ArchiveLimitError if reason is Reason.OVERLAP else ArchiveError
            self.error = kind(message, reason)

    # What belongs to no record

    def _gaps(self) -> Iterator[tuple[int, int]]:
        self._spans.sort()
        at = 0
        for start, end in self._spans:
            if start > at:
                yield at, start
            at = max(at, end)
        if at < len(self._data):
            yield at, len(self._data)

    def _has_junk(self) -> bool:
        for start, end in self._gaps():
            gap = self._data[start:end]
            is_record = gap.startswith(_LEGAL_BETWEEN) and len(gap) <= _LEGAL_BETWEEN_BYTES
            if gap.strip(PADDING) and not is_record and not gap.endswith(_ANDROID_MAGIC):
                return True
        return False

    def _read_unlisted(self) -> None:
        for start, end in list(self._gaps()):
            # A header may begin here and go on in what belongs to another record.
            reach = end + _HEADER_START_BYTES
            match = LOCAL_HEADER.search(self._data, start, reach)
            while match is not None and match.start() < end:
                at = match.start()
                header = read_local(self._data, at)
                content_end = at + len(LOCAL_MAGIC)
                if header is not None:
                    self._budget.take_member()
                    self._unlisted[at] = header
                    contents = [(header.method, self._packed_bytes(header, None))]
                    content_end = self._content_end(header.end, contents, [header])
                    self._spans.append((at, content_end))
                match = LOCAL_HEADER.search(self._data, content_end, max(content_end, reach))

    # Directories

    def _last_end(self) -> EndRecord | None:
        for start, end in reversed(list(self._gaps())):
            at = self._data.rfind(END_MAGIC, start, end)
            while at >= 0:
                record = read_end(self._data, at)
                if record is not None:
                    return record
                at = self._data.rfind(END_MAGIC, start, at)
        return None

    def _read_directory(self, record: EndRecord) -> None:
        """Read the directory that ends with the record: where it should begin, and where it says that it does."""
        self._directories += 1
        if self._directories > _MAX_DIRECTORIES:
            raise ArchiveLimitError(f"a zip with more than {_MAX_DIRECTORIES} directories", Reason.MEMBERS)
        comment_start, comment_end = record.comment
        # Where a zip is hidden in the comment, that is not one.
        is_comment = ANY_RECORD.search(self._data, comment_start, comment_end) is None
        self._spans.append((record.start, comment_end if is_comment else comment_start))
        places: dict[int, int] = {}
        for size, offset in record.directories:
            near = record.start - size
            places.setdefault(near, near - offset)
            places.setdefault(offset, 0)
        if len(record.directories) > 1:
            self.defects["archive-junk"] = None
        counts = [
            self._read_records(start, shift)[0]
            for start, shift in places.items()
            if start >= 0 and self._data.startswith(CENTRAL_MAGIC, start)
        ]
        # Without zip64, the number is cut to 16 bits.
        if not any(count & 0xFFFF == record.count & 0xFFFF for count in counts or [0]):
            self._fail("the zip's directory is damaged")

    def _read_records(self, start: int, shift: int) -> tuple[int, int]:
        """Read the directory's records one after the other and add their members; return how many, and the end."""
        at = start
        extents: list[tuple[int, int]] = []
        while (central := read_central(self._data, at, shift)) is not None:
            self._budget.take_member()
            extents.append(self._add(central, self._local_header(central)))
            at = central.end
        self._spans.append((start, at))
        extents.sort()
        if any(before[1] > after[0] for before, after in pairwise(extents)):
            self._fail("members of the zip overlap", Reason.OVERLAP)
        return len(extents), at

    def _read_stray_directories(self) -> None:
        """Read the records of a directory whose end was cut off."""
        for start, end in list(self._gaps()):
            at = self._data.find(CENTRAL_MAGIC, start, end)
            while at >= 0:
                central = read_central(self._data, at, 0)
                if central is None:
                    at += len(CENTRAL_MAGIC)
                else:
                    # The first member's place is the only clue to what the offsets are counted from.
                    _, at = self._read_records(at, min(self._unlisted, default=central.start) - central.start)
                at = self._data.find(CENTRAL_MAGIC, at, max(at, end))

    def _local_header(self, central: Header) -> Header | None:
        self._unlisted.pop(central.start, None)
        local = read_local(self._data, central.start)
        if local is None:
            self._fail("a member of the zip is missing")
        return local

    # Members

    def _add(self, central: Header | None, local: Header | None) -> tuple[int, int]:
        """Add the member that has these headers, twice if they tell of different contents; return where it lies."""
        headers = [header for header in (central, local) if header is not None]
        first = headers[0]
        is_closed = all(header.is_encrypted for header in headers)
        names, defects = _names_of(headers)
        start = local.end if local else len(self._data)
        contents = dict.fromkeys((header.method, self._packed_bytes(header, central)) for header in headers)
        for method, packed in contents:
            if local and start + packed > len(self._data):
                self._fail("a member of the zip is cut off")
            member = Member(
                kind=ArchiveKind.ZIP,
                names=names,
                unpack=_unpacker(self._view[start : start + packed], method, packed, self._budget, is_closed=is_closed),
                budget=self._budget,
                size=first.size,
                packed_size=packed,
                is_encrypted=any(header.is_encrypted for header in headers),
                is_directory=names[:1] != () and names[0].endswith("/") and packed == 0,
                defects=defects,
            )
            self.members.append(member)
        if local is None:
            return first.start, first.start
        end = min(start + next(iter(contents))[1], len(self._data))
        trimmed = self._content_end(start, contents, headers)
        if trimmed == end and local.flags & FLAG_DESCRIPTOR:
            end = trimmed = end + descriptor_bytes(self._data, end, first.packed, first.size)
        self._spans.append((first.start, trimmed))
        return first.start, end

    def _content_end(self, start: int, contents: Iterable[tuple[int, int]], headers: list[Header]) -> int:
        """Return where a member's content ends at the latest, in all readings, if another's header seems to follow."""
        end = min(start + next(iter(contents))[1], len(self._data))
        at = bisect_left(self._marks, start)
        if at == len(self._marks) or self._marks[at] >= end:
            return end
        end = min(end, start + min(packed for _, packed in contents))
        if any(header.is_encrypted for header in headers):
            return end
        for method, _ in contents:
            length = packed_bytes(self._view[start:end], method, self._budget.ends)
            if length is not None:
                end = min(end, start + length)
        return end

    def _packed_bytes(self, header: Header, central: Header | None) -> int:
        if header is central or header.packed or not header.flags & FLAG_DESCRIPTOR:
            return header.packed
        return central.packed if central else streamed_bytes(self._data, header.end, len(self._data))


def _names_of(headers: list[Header]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return all names of a member that has these headers, and what is wrong with it."""
    texts = [header.text for header in headers]
    paths = [(header, path) for header in headers for path in header.unicode_paths]
    names = spellings(*texts, *(path for _, path in paths))
    defects: list[str] = []
    if any(header.is_encrypted for header in headers):
        defects.append("archive-encrypted")
    if not mean_the_same(texts[-1], texts[0]):
        defects.append("archive-name-mismatch")
    second = any(not mean_the_same(header.text, path) for header, path in paths)
    if second or any(header.repeats_fields for header in headers) or any(is_odd(name) for name in names):
        defects.append("archive-odd-member-name")
    return names, tuple(defects)


def _unpacker(packed: memoryview, method: int, packed_bytes: int, budget: Budget, *, is_closed: bool) -> Unpack:
    """Return a function for the first bytes of a member's content."""

    def read(size: int) -> bytes:
        if is_closed:
            raise ArchiveEncryptedError("a member of the zip is encrypted")
        match method:
            case 0:
                if len(packed) < min(size, packed_bytes):
                    raise ArchiveError("a member's content is cut off", partial=bytes(packed[:size]))
                return bytes(packed[:size])
            case 8:
                return unpack.inflate(packed, size)
            case 12:
                return unpack.bunzip(packed, size)
            case 14:
                return unpack.lzma_of_zip(packed, size)
            case 95:
                return unpack.unxz(packed, size)
            case 20 | 93:
                return unpack.by_libarchive(ArchiveKind.ZSTD, packed, size, budget)
            case _:
                raise ArchiveError(f"a member packed by method {method}, which can't be read", Reason.UNSUPPORTED)

    return read
