# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in an archive, for filters: `member_names(part)`, and `members(part)` for their contents, too.

Apart from `defang_worker` itself, because looking into archives takes modules that other filters need not load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from defang_worker.mime import archives
from defang_worker.mime.archives import (
    Archive,
    ArchiveEncryptedError,
    ArchiveError,
    ArchiveKind,
    ArchiveLimitError,
    ArchiveLimits,
    Member,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.api.part import Part

__all__ = [
    "ArchiveEncryptedError",
    "ArchiveError",
    "ArchiveKind",
    "ArchiveLimitError",
    "ArchiveLimits",
    "Member",
    "archive_kind",
    "member_names",
    "members",
]


def archive_kind(part: Part | bytes) -> ArchiveKind | None:
    """What kind of archive it is, whatever it calls itself, or None: "zip", "7z", "gzip" ... Office files are zips."""
    return archives.archive_kind(_content(part))


def members(archive: Part | bytes, limits: ArchiveLimits | None = None) -> Iterator[Member]:
    """The members of an archive, and of archives and messages within, one after another: `names`, `path`, `read()` ...

    Zip, tar, 7z, rar, cab, ISO images, single compressed files and some others. Raises ArchiveError at the end, after
    all that could be found, if there may be more: it is damaged or no archive, a password keeps even the names, or it
    is too big, too deep or too well packed (ArchiveLimitError). What cannot be examined never reads as harmless.
    The members of a message are its parts, of winmail.dat and S/MIME what is inside; a part may have no name.
    """
    filenames = () if isinstance(archive, bytes) else archive.filenames
    found = Archive(_content(archive), limits, filenames=filenames)
    yield from found
    if found.error is not None:
        raise found.error


def member_names(archive: Part | bytes, limits: ArchiveLimits | None = None) -> list[str]:
    """The names of all members and of those of archives and messages within, each in every spelling that it has there.

    Raises ArchiveError, as `members` does.
    """
    return list(dict.fromkeys(name for member in members(archive, limits) for name in member.names))


def _content(archive: Part | bytes) -> bytes:
    return archive if isinstance(archive, bytes) else archive.data
