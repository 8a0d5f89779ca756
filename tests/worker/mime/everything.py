# SPDX-License-Identifier: GPL-3.0-or-later
"""All that an examination brings to light of a message, for comparing."""

from typing import NamedTuple

from defang_worker.mime import Entity, canonical, parse
from defang_worker.mime.archives import Archive, ArchiveError, archive_kind
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.views import examine


class Everything(NamedTuple):
    """Names in canonical form, and all contents, one after the other."""

    names: set[str]
    content: bytes


def everything(message: bytes) -> Everything:
    """Return the names and contents of all parts of all views, archive members included."""
    tree = parse(message)
    parts: list[Entity | ShadowPart] = [*tree.walk(), *examine(tree).shadows]
    names = [name for part in parts for name in part.filenames]
    contents = [part.content for part in parts if part.is_leaf]
    for content in list(contents):
        if archive_kind(content) is not None:
            for member in Archive(content):
                names += member.names
                try:
                    contents.append(member.read())
                except ArchiveError:
                    continue
    return Everything({form for name in names if (form := canonical(name))}, b"\n".join(contents))


def verdict(message: bytes) -> set[tuple[str, int]]:
    """Return names and severities of all defects."""
    return {(defect.name, defect.severity) for defect in examine(parse(message)).defects}
