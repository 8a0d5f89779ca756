# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in an archive, for filters: `member_names(part)`.

Apart from `defang_worker` itself, because looking into archives takes modules that other filters need not load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from defang_worker.mime import archives
from defang_worker.mime.archives import ArchiveError, ArchiveLimitError, ArchiveLimits

if TYPE_CHECKING:
    from defang_worker.api.part import Part

__all__ = ["ArchiveError", "ArchiveLimitError", "ArchiveLimits", "member_names"]


def member_names(archive: Part | bytes, limits: ArchiveLimits | None = None) -> list[str]:
    """The names of all members of a zip, and of the zips within it, each in every spelling that it has there.

    Raises ArchiveError if it is damaged or no zip, and ArchiveLimitError, which is one too, if it is too big, too deep
    or too well packed to be looked through: what cannot be examined never reads as harmless.
    """
    return archives.member_names(archive if isinstance(archive, bytes) else archive.data, limits)
