# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said about archives: errors, limits and members, and what the limits have left.

The readers (`zip.py`, `tar.py`, `streams.py`, `foreign.py`) make the members of one archive; `walk.py` puts the
archives within archives together.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from defang_worker.mime.archives.kinds import ArchiveKind
from defang_worker.mime.tree import KIB, MIB

# Small archives may well shrink by more than the ratio allows: a file of zeros does no harm.
_RATIO_FREE_BYTES: Final = 1 * MIB
# So much is unpacked only to see whether compressed files are whole, and files have a zip at their end: 40 ms of work.
_CHECKED_BYTES: Final = 16 * MIB
# Enough to tell every kind of archive: the mark of an ISO image stands at 32,769.
HEAD_BYTES: Final = 34 * KIB

# Returns a content's first bytes, as many as asked for, or all if there are no more. Raises ArchiveError.
Unpack = Callable[[int], bytes]


class Reason(StrEnum):
    """Why an archive was not looked through to its end."""

    NO_ARCHIVE = "no archive"
    DAMAGED = "damaged"
    ENCRYPTED = "encrypted"
    UNSUPPORTED = "unsupported"
    MEMBERS = "members"
    DEPTH = "depth"
    SIZE = "expanded size"
    RATIO = "ratio"
    OVERLAP = "overlapping members"
    TIME = "time"


# The defects that they amount to; what is beyond a limit counts as nested too deep.
_DEFECTS: Final = {
    Reason.DAMAGED: "archive-truncated",
    Reason.ENCRYPTED: "archive-encrypted",
    Reason.UNSUPPORTED: "archive-other",
    Reason.OVERLAP: "archive-junk",
}


UNREADABLE: Final = "archive-unreadable"
"""The archive is of a kind, or packed by a method, that is not known here: nothing is wrong with it."""
MILD_LIMITS: Final = frozenset({"archive-encrypted", UNREADABLE})
"""What honest archives have, too: any other limit tells more of what has both."""


class ArchiveError(Exception):
    """The archive can't be read: it is damaged, encrypted, of an unknown sort, or none at all."""

    def __init__(self, message: str, reason: Reason = Reason.DAMAGED, *, partial: bytes = b"") -> None:
        super().__init__(message)
        self.reason = reason
        self.partial = partial
        """Of a content that cannot be read to its end, what could be read."""

    @property
    def defect(self) -> str:
        """The defect that the error amounts to, by its name in the table of defects."""
        return _DEFECTS.get(self.reason, "nesting-too-deep")

    @property
    def limit(self) -> str:
        """What kept the archive from being examined completely, as a message tells it."""
        return UNREADABLE if self.reason is Reason.UNSUPPORTED else self.defect


class ArchiveLimitError(ArchiveError):
    """The archive is too big, too deep or too well packed to be looked through."""


class ArchiveEncryptedError(ArchiveError):
    """The content, or even the list of names, can't be read without a password."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Reason.ENCRYPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """How far an archive is looked into; beyond, `ArchiveLimitError` is raised."""

    # Of the archive and all archives within it together; so are bytes and seconds.
    max_members: int = 10_000
    max_depth: int = 5
    # Of archives within the archive, and as much again of members that are read: whether somebody reads them must not
    # change what is found.
    max_expanded_bytes: int = 64 * MIB
    # Bombs pack by 1,000 and more; deflate can't do better than 1,032.
    max_ratio: int = 200
    # Honest mail takes milliseconds; there are formats that unpack at 1 MB/s.
    max_seconds: float = 10.0


class Helper(Protocol):
    """A process that can be ended."""

    def close(self) -> None: ...  # noqa: D102


class Allowance:
    """Bytes that may still be unpacked for one purpose."""

    __slots__ = ("left",)

    def __init__(self, count: int) -> None:
        self.left = count


class Budget:
    """What is left of the limits for one archive and all archives within it."""

    __slots__ = ("archives", "checks", "ends", "heads", "helpers", "limits", "members", "reads", "seconds")

    def __init__(self, limits: ArchiveLimits) -> None:
        self.limits = limits
        self.members = limits.max_members
        self.heads = Allowance(limits.max_expanded_bytes)
        """For the first bytes of members."""
        self.archives = Allowance(limits.max_expanded_bytes)
        """For archives within the archive."""
        self.checks = Allowance(min(_CHECKED_BYTES, limits.max_expanded_bytes))
        """For contents that are only looked at."""
        self.ends = Allowance(limits.max_expanded_bytes)
        """For streams whose end is looked for."""
        self.reads = Allowance(limits.max_expanded_bytes)
        """For members that somebody reads."""
        self.seconds = limits.max_seconds
        self.helpers: list[Helper] = []
        """Processes of `foreign.py` that wait for another archive."""

    def close(self) -> None:
        """End the processes that work for the archive. They are started again if need be."""
        while self.helpers:
            self.helpers.pop().close()

    def take_member(self) -> None:
        """Count one member. Raises ArchiveLimitError, as do the others here."""
        self.members -= 1
        if self.members < 0:
            raise ArchiveLimitError(f"more than {self.limits.max_members} members", Reason.MEMBERS)

    def head(self, unpack: Unpack, size: int) -> bytes:
        """Return the first bytes of a content."""
        if self.heads.left <= 0:
            raise ArchiveLimitError("its members expand to more than is allowed", Reason.SIZE)
        with self.working():
            content = unpack(size)
        self.heads.left -= len(content)
        return content

    def expand(self, unpack: Unpack, packed_bytes: int | None, allowance: Allowance) -> bytes:
        """Return all of a content, if there is room for it."""
        room = allowance.left
        if packed_bytes is not None:
            room = min(room, max(_RATIO_FREE_BYTES, self.limits.max_ratio * packed_bytes))
        try:
            with self.working():
                content = unpack(room + 1)
        except ArchiveError as error:
            error.partial = error.partial[:room]
            allowance.left -= len(error.partial)
            raise
        is_over = len(content) > room
        reason = Reason.SIZE if room == allowance.left else Reason.RATIO
        # What is too much was work, too: else an archive of a thousand bombs would be one.
        allowance.left -= min(len(content), room)
        if is_over:
            raise ArchiveLimitError("it expands to more than is allowed", reason, partial=content[:room])
        return content

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time spent within."""
        if self.seconds <= 0:
            raise ArchiveLimitError(f"it takes more than {self.limits.max_seconds:g} s to look through", Reason.TIME)
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds -= time.monotonic() - start


class Member:
    """A file in an archive, or in an archive within it."""

    __slots__ = (
        "_budget",
        "_is_paid",
        "_unpack",
        "defects",
        "is_directory",
        "is_encrypted",
        "kind",
        "names",
        "packed_size",
        "path",
        "size",
    )

    def __init__(  # noqa: PLR0913 (one argument an attribute)
        self,
        *,
        kind: ArchiveKind,
        names: tuple[str, ...],
        unpack: Unpack,
        budget: Budget,
        size: int | None = None,
        packed_size: int | None = None,
        is_encrypted: bool = False,
        is_directory: bool = False,
        defects: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        """The kind of archive that it is directly in."""
        self.names = names
        """Its name in every spelling that some unpacker goes by, the most usual first; with the folders in it.
        Empty where the archive has no names, as a compressed file often has none."""
        self.path: tuple[str, ...] = ()
        """The names of the archives that it lies in within the archive, the outermost first."""
        self.size = size
        """The size that the archive claims, in bytes; None if it doesn't say."""
        self.packed_size = packed_size
        """The bytes that it takes in the archive; None if it is packed together with others."""
        self.is_encrypted = is_encrypted
        self.is_directory = is_directory
        self.defects = defects
        """What is odd about it, by the names of the table of defects."""
        self._unpack = unpack
        self._budget = budget
        self._is_paid = False

    def __repr__(self) -> str:
        return f"<Member {'/'.join((*self.path, self.name))!r} of {self.kind}>"

    @property
    def name(self) -> str:
        """The first of its names; empty if there is none."""
        return self.names[0] if self.names else ""

    def head(self, size: int = HEAD_BYTES) -> bytes:
        """Return the first bytes of its content. Raises ArchiveError."""
        return self._budget.head(self._unpack, min(size, HEAD_BYTES))

    def read(self) -> bytes:
        """Return its content, which is not kept. Raises ArchiveError, and ArchiveLimitError if that is too much.

        The error's `partial` has what can be read of a content that is damaged, cut off, or too much.
        All members of an archive share its limits, and a member counts once. Those of 7z, rar, cab and ISO images
        are read quickly only while the iteration over the members stands at them.
        """
        if self._is_paid:
            with self._budget.working():
                return self._unpack(self._budget.limits.max_expanded_bytes)
        content = self._budget.expand(self._unpack, self.packed_size, self._budget.reads)
        self._is_paid = True
        return content

    def open(self) -> bytes:
        """Return its content, which is an archive to be looked into. Raises ArchiveError."""
        return self._budget.expand(self._unpack, self.packed_size, self._budget.archives)

    def peek(self) -> bytes:
        """Return its content for a look at it. Raises ArchiveError, also if there is no room for more looks."""
        return self._budget.expand(self._unpack, self.packed_size, self._budget.checks)
