# SPDX-License-Identifier: GPL-3.0-or-later
"""What archives hold, archives and messages in them included: `members(data)`, `member_names(data)`, `Archive(data)`.

An archive that is damaged, encrypted to its last name, or too big to be looked through, raises ArchiveError: it never
reads as an empty one. Names of encrypted members are visible, their contents are not. `kinds.py` tells what is an
archive, `model.py` has the values, `walk.py` goes through; the readers of single kinds are loaded when there is one.
"""

from collections.abc import Iterator

from defang_worker.mime.archives.kinds import ArchiveKind, archive_kind
from defang_worker.mime.archives.model import (
    ArchiveEncryptedError,
    ArchiveError,
    ArchiveLimitError,
    ArchiveLimits,
    Budget,
    Member,
    Reason,
)
from defang_worker.mime.archives.walk import Archive
from defang_worker.mime.tree import Entity

__all__ = [
    "Archive",
    "ArchiveEncryptedError",
    "ArchiveError",
    "ArchiveKind",
    "ArchiveLimitError",
    "ArchiveLimits",
    "Budget",
    "Member",
    "Reason",
    "archive_kind",
    "member_names",
    "members",
]


def members(archive: bytes | Entity, limits: ArchiveLimits | None = None) -> Iterator[Member]:
    """Yield the members of an archive and of the archives within it, each container before what is in it.

    Yields all that can be found first, and then raises ArchiveError if there may be more.
    """
    found = (
        Archive(archive.content, limits, filenames=archive.filenames)
        if isinstance(archive, Entity)
        else Archive(archive, limits)
    )
    yield from found
    if found.error is not None:
        raise found.error


def member_names(archive: bytes | Entity, limits: ArchiveLimits | None = None) -> list[str]:
    """Return the names of all members, folders included, in each spelling that they have there.

    A nested archive is recognized by its content, whatever its name. Raises ArchiveError.
    """
    return list(dict.fromkeys(name for member in members(archive, limits) for name in member.names))
