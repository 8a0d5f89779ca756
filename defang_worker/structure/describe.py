# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts about a message and its parts, in all views, as values: `describe`.

Each part's content is looked at once, while it is at hand: for its digest, for the archive that it may be, and for
whoever wants to keep it (`Keeper`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Union

from defang_worker.mime import parse
from defang_worker.mime.archives import Archive, ArchiveError, ArchiveKind, Reason, archive_kind
from defang_worker.mime.contents import is_called_archive
from defang_worker.mime.views import examine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from defang_worker.mime.archives import Member
    from defang_worker.mime.defects import Defect
    from defang_worker.mime.headers import Buffer
    from defang_worker.mime.shadow import ShadowPart
    from defang_worker.mime.tree import Entity

Part = Union["Entity", "ShadowPart"]
PRIMARY: Final = "primary"
"""The view that is the strict tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFacts:
    """One part of one view."""

    number: str
    """As in IMAP; a part that only another view has is numbered within its host: "2+1"."""
    depth: int
    """How many parts it is in."""
    view: str
    content_type: str
    is_leaf: bool
    own_names: tuple[str, ...]
    """Every candidate for its own name."""
    members: tuple[str, ...]
    """The paths of the archive members in it, each as it is usually shown."""
    filenames: tuple[str, ...]
    """Its own names, all spellings of the members', and those of files inside its content."""
    size: int
    """Of the decoded body, in bytes, as the digest is."""
    sha256: str
    encoding: str
    defects: tuple[Defect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFacts:
    """One message."""

    size: int
    defects: tuple[Defect, ...]
    incomplete: str | None
    """Why not everything could be examined; None if it was."""
    parts: tuple[PartFacts, ...]


class Keeper(Protocol):
    """Takes contents, of leaves and of archive members."""

    def keep_member(self, part: Part, member: Member, content: bytes | None, *, is_whole: bool) -> None:
        """Take the content of an archive member, or as much of it as can be read; None if nothing can.

        `part` is the leaf that it is in.
        """

    def keep_part(self, part: Part, facts: PartFacts, content: bytes) -> None:
        """Take the content of a leaf, after the members in it."""


def describe(message: Buffer, keeper: Keeper | None = None) -> MessageFacts:
    """Return what is in `message`, whatever that is; `keeper` is handed the contents on the way."""
    tree = parse(message)
    holdings = _Holdings(keeper)
    examination = examine(tree, holdings.walk)
    shadows: dict[int, list[ShadowPart]] = {}
    for shadow in examination.shadows:
        shadows.setdefault(id(shadow.host), []).append(shadow)
    parts = [
        _facts(part, number, depth, shadows.get(id(part), ()), holdings)
        for part, number, depth in _in_order(tree.root, shadows)
    ]
    return MessageFacts(
        size=len(message), defects=examination.defects, incomplete=examination.incomplete, parts=tuple(parts)
    )


def _in_order(root: Entity, shadows: dict[int, list[ShadowPart]]) -> Iterator[tuple[Entity | ShadowPart, str, int]]:
    """Yield all parts with number and depth: each entity, what other views have of it, its children."""
    waiting = [(root, 0)]
    while waiting:
        entity, depth = waiting.pop()
        yield entity, entity.number, depth
        for index, shadow in enumerate(shadows.get(id(entity), ()), 1):
            yield shadow, f"{entity.number}+{index}", depth + 1
        waiting.extend((child, depth + 1) for child in reversed(entity.children))


class _Holdings:
    """What the archives in a message hold."""

    def __init__(self, keeper: Keeper | None) -> None:
        self.keeper = keeper
        self._known: dict[int, tuple[Part, list[str], list[str]]] = {}
        """By the identities of parts, which are kept so that these stay theirs."""

    def walk(self, part: Part, archive: Archive) -> None:
        """Go through an archive, the content of `part`."""
        paths: list[str] = []
        names: list[str] = []
        self._known[id(part)] = (part, paths, names)
        for member in archive:
            if member.is_directory:
                continue
            if member.name or member.kind is not ArchiveKind.MESSAGE:
                paths.append("/".join((*member.path, member.name)))
            names += member.names
            if self.keeper is not None:
                content, is_whole = _read(member)
                self.keeper.keep_member(part, member, content, is_whole=is_whole)

    def of(self, part: Part) -> tuple[list[str], list[str]]:
        """Return the paths of the archive members in a part, and all their names."""
        if id(part) not in self._known and part.is_leaf and archive_kind(part.content):
            is_called_so = is_called_archive(part.content_type, part.filenames)
            self.walk(part, Archive(part.content, is_called_so=is_called_so))
        _, paths, names = self._known.get(id(part), (part, [], []))
        return paths, names


def _facts(part: Part, number: str, depth: int, shadows: Iterable[ShadowPart], holdings: _Holdings) -> PartFacts:
    content = part.content
    names = list(part.filenames)
    for shadow in shadows:
        if shadow.is_leaf:
            names += shadow.filenames
    members, member_names = holdings.of(part)
    names += member_names
    facts = PartFacts(
        number=number,
        depth=depth,
        view=part.view,
        content_type=part.content_type,
        is_leaf=part.is_leaf,
        own_names=part.filenames,
        members=tuple(members),
        filenames=tuple(dict.fromkeys(names)),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        encoding=part.transfer_encoding,
        defects=part.defects,
    )
    if holdings.keeper is not None and part.is_leaf:
        holdings.keeper.keep_part(part, facts, content)
    return facts


def _read(member: Member) -> tuple[bytes | None, bool]:
    """Return the content of a member, or what can be read of it, or None; and whether it is whole."""
    try:
        return member.read(), True
    except ArchiveError as error:
        # Of what packs too well, the archive itself is enough for scanners.
        return (error.partial or None) if error.reason is Reason.DAMAGED else None, False
