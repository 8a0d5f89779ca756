# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive and the archives and messages within it, one member after the other: `Archive`."""

from collections.abc import Iterator
from typing import Final

from defang_worker.mime.archives.evidence import is_archive
from defang_worker.mime.archives.kinds import ArchiveKind, archive_kind, has_zip, kind_at_start
from defang_worker.mime.archives.messages import MessageReader, holds_parts
from defang_worker.mime.archives.model import (
    HEAD_BYTES,
    MILD_LIMITS,
    ArchiveError,
    ArchiveLimitError,
    ArchiveLimits,
    Budget,
    Member,
    Reason,
)
from defang_worker.mime.archives.streams import STREAM_KINDS, read_stream
from defang_worker.mime.contents import is_called_archive

_UNREADABLE_KINDS: Final = frozenset({ArchiveKind.ACE, ArchiveKind.ARJ})
# The budget has run out for everything else in the archive, too.
_FINAL: Final = frozenset({Reason.MEMBERS, Reason.SIZE, Reason.TIME})


class Archive:
    """An archive to be gone through once, with all archives within it: `for member in archive`.

    The iteration never raises. When it is over, `error` tells whether there may be more than was seen.
    """

    def __init__(
        self,
        data: bytes,
        limits: ArchiveLimits | None = None,
        *,
        filenames: tuple[str, ...] = (),
        budget: Budget | None = None,
        is_called_so: bool = True,
    ) -> None:
        """`filenames` are the archive's own: programs call the content of `a.exe.gz` by it.

        Unless `is_called_so`, by name or type or whoever asks, a few first bytes make no archive of data.
        A `budget` takes the place of limits, for several archives that share one; who made it has to close it.
        """
        self._data = data
        self._filenames = filenames
        self._is_own_budget = budget is None
        self._budget = budget or Budget(limits or ArchiveLimits())
        self._limits = self._budget.limits
        self._is_called_so = is_called_so
        self._defects: dict[str, None] = {}
        self.kind = archive_kind(data)
        """The kind of the outermost archive; None if it is none."""
        self.error: ArchiveError | None = None
        """What first kept something from being seen, if possible other than a password or method that is wanted; None
        if all was seen."""

    @property
    def defects(self) -> tuple[str, ...]:
        """What was found so far in all of it, by the names of the table of defects."""
        return tuple(self._defects)

    def __iter__(self) -> Iterator[Member]:
        try:
            if self.kind is not None and (self._is_called_so or is_archive(self._data, self.kind, self._budget)):
                yield from self._walk(self._data, self.kind, self._filenames, (), 1)
            else:
                self._note(ArchiveError("no archive of a known kind", Reason.NO_ARCHIVE))
        except ArchiveError as error:
            self._note(error)
        finally:
            if self._is_own_budget:
                self._budget.close()

    def _note(self, error: ArchiveError) -> None:
        if self.error is None or self.error.limit in MILD_LIMITS:
            self.error = error
        if error.reason is not Reason.NO_ARCHIVE:
            self._defects[error.defect] = None

    def _walk(
        self, data: bytes, kind: ArchiveKind, names: tuple[str, ...], path: tuple[str, ...], depth: int
    ) -> Iterator[Member]:
        """Yield the members of one archive and, behind each of them, the members that it has itself."""
        if kind is not ArchiveKind.MESSAGE:
            self._defects["archive-member" if kind is ArchiveKind.ZIP else "archive-other"] = None
        for member in self._members(data, kind, names):
            member.path = path
            self._defects.update(dict.fromkeys(member.defects))
            yield member
            inner = self._kind_in(member, kind)
            if inner is None and kind in STREAM_KINDS and self.error is None:
                self._check_end(member)
            if inner is not None:
                # A tar is rarely seen without its compression, so that both are one level.
                is_packed_tar = kind in STREAM_KINDS and inner is ArchiveKind.TAR
                if not is_packed_tar:
                    self._defects["nested-message" if inner is ArchiveKind.MESSAGE else "archive-nested"] = None
                yield from self._walk_member(member, inner, depth if is_packed_tar else depth + 1)
            if kind in STREAM_KINDS:
                # What is behind its end is known by now.
                self._defects.update(dict.fromkeys(member.defects))

    def _walk_member(self, member: Member, kind: ArchiveKind, depth: int) -> Iterator[Member]:
        try:
            if depth > self._limits.max_depth:
                raise ArchiveLimitError(f"archives nested more than {self._limits.max_depth} deep", Reason.DEPTH)
            content, failure = self._content(member)
            yield from self._walk(content, kind, member.names, (*member.path, member.name), depth)
            if failure is not None:
                raise failure
        except ArchiveError as error:
            self._note(error)
            if error.reason in _FINAL:
                raise

    def _check_end(self, member: Member) -> None:
        """Note that a compressed file is cut off, which nothing but its content tells."""
        try:
            member.peek()
        except ArchiveLimitError as error:
            if error.reason is Reason.TIME:
                self._note(error)
        except ArchiveError as error:
            self._note(error)

    def _content(self, member: Member) -> tuple[bytes, ArchiveError | None]:
        """Return the content of a member, or what can be read of it and why not all can; the former keeps its names."""
        try:
            return member.open(), None
        except ArchiveError as error:
            if not error.partial:
                raise
            self._note(error)
            return error.partial, error

    def _kind_in(self, member: Member, outer: ArchiveKind) -> ArchiveKind | None:
        """Return the kind of archive that a member is, or MESSAGE for one, by its first bytes."""
        # A zip may claim no size for what is packed in it.
        is_empty = member.size == 0 and (outer is not ArchiveKind.ZIP or member.packed_size == 0)
        if member.is_directory or is_empty:
            return None
        try:
            head = member.head()
        except ArchiveError as error:
            if not member.is_encrypted:
                self._note(error)
            if error.reason in _FINAL:
                raise
            head = error.partial
        kind = kind_at_start(head)
        if kind is None:
            if outer is not ArchiveKind.MESSAGE and holds_parts(head, member.names):
                return ArchiveKind.MESSAGE  # in a message, those are among the members
            return ArchiveKind.ZIP if has_zip(self._more_of(member, head)) else None
        is_one = is_called_archive("", member.names) or is_archive(head, kind, self._budget)
        return kind if is_one else None

    def _more_of(self, member: Member, head: bytes) -> bytes:
        """Return all of a content that begins so, if there is room for it: a zip may stand behind other bytes."""
        if len(head) < HEAD_BYTES:
            return head
        try:
            return member.peek()
        except ArchiveError as error:
            return error.partial or head

    def _members(self, data: bytes, kind: ArchiveKind, names: tuple[str, ...]) -> Iterator[Member]:
        """Yield the members of one archive, without those within; then raise what was wrong with it."""
        if kind in _UNREADABLE_KINDS:
            raise ArchiveError(f"archives of the kind {kind} can't be read", Reason.UNSUPPORTED)
        if kind in STREAM_KINDS:
            yield from read_stream(data, kind, self._budget, self._filenames if data is self._data else ())
        elif kind is ArchiveKind.ZIP:
            yield from self._zip_members(data)
        elif kind is ArchiveKind.TAR:
            yield from self._tar_members(data)
        elif kind is ArchiveKind.MESSAGE:
            yield from self._timed(iter(MessageReader(data, names, self._budget)))
        else:
            yield from self._foreign_members(data, kind)

    def _zip_members(self, data: bytes) -> Iterator[Member]:
        from defang_worker.mime.archives.zip import ZipReader  # noqa: PLC0415 (each kind's reader when there is one)

        with self._budget.working():
            reader = ZipReader(data, self._budget)
        self._defects.update(reader.defects)
        yield from reader.members
        if reader.error is not None:
            raise reader.error

    def _tar_members(self, data: bytes) -> Iterator[Member]:
        from defang_worker.mime.archives.tar import TarReader  # noqa: PLC0415

        reader = TarReader(data, self._budget)
        try:
            yield from self._timed(iter(reader))
        finally:
            self._defects.update(reader.defects)

    def _foreign_members(self, data: bytes, kind: ArchiveKind) -> Iterator[Member]:
        from defang_worker.mime.archives.foreign import ForeignReader  # noqa: PLC0415

        reader = ForeignReader(data, kind, self._budget)
        try:
            yield from self._timed(iter(reader))
        finally:
            reader.close()

    def _timed(self, members: Iterator[Member]) -> Iterator[Member]:
        while True:
            with self._budget.working():
                member = next(members, None)
            if member is None:
                return
            yield member
