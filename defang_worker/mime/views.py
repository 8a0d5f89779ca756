# SPDX-License-Identifier: GPL-3.0-or-later
"""The examination of a message: its defects, and the parts that only other readings of it have.

The strict tree comes from `parse.py`. Ordinary mail ends with a look at its headers and the shape of its bodies
(`*_checks.py`); only what is seen there makes `explore.py` build other views. What these show then corrects the
severities: readings that agree do little harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from defang_worker.mime import severities
from defang_worker.mime.body_checks import ArchiveWalk, BodyChecks, Seed
from defang_worker.mime.byte_checks import check_bytes
from defang_worker.mime.contents import is_mere_text, is_opened_by_name
from defang_worker.mime.defects import DEFECTS, Defect, Severity, worst_severity
from defang_worker.mime.header_checks import (
    MimeField,
    Note,
    check_header,
    check_mime_version,
    check_names,
    check_text_name,
)
from defang_worker.mime.parse import parse
from defang_worker.mime.readings import encodings
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.structure_checks import check_entity, check_near_delimiters, check_nesting, check_strays
from defang_worker.mime.tree import KIB, Entity, Tree

if TYPE_CHECKING:
    from defang_worker.mime.archives import Budget

# Of one name in one entity: more say nothing new, and 2,000 fields could have as many each.
# Honest headers are shorter, but for the message's own; of longer ones only so much is looked at closely.
_LONG_HEADER_BYTES: Final = 4 * KIB
_MAX_LONG_HEADERS_BYTES: Final = 300 * KIB
_MAX_EQUAL: Final = 3
# Of entities in contents of parts in such entities; each may have many that are not packed further.
_MAX_LEVELS: Final = 5
_UNENCODED: Final = frozenset({"7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is wrong with a message, and what else is in it."""

    shadows: tuple[ShadowPart, ...] = ()
    """Parts that are not in the strict tree: of other views, and files within contents."""
    defects: tuple[Defect, ...] = ()
    """Of the message and all its parts, the worst first; severities corrected by what the views show."""
    incomplete: str | None = None
    """None, or why the message was not examined completely: the name of a limit, or what keeps an archive closed."""
    view_count: int = 1
    """In how many ways the message can be read; files within contents make no view."""

    @property
    def worst(self) -> Severity:
        """The highest severity of all defects; INFO if there are none."""
        return worst_severity(self.defects)


def examine(tree: Tree, walk: ArchiveWalk | None = None, budget: Budget | None = None) -> Examination:
    """Return the examination of `tree`; its entities have their `defects` afterwards. Never raises on any bytes.

    Kept in `tree.examination`: a second call costs nothing. `walk` goes through the archives in the message, for who
    wants more of them than their defects; `budget` has what is left of the limits if the message is in an archive.
    """
    if tree.examination is None:
        tree.examination = _Examiner(tree, walk, budget).run()
    return tree.examination


class _Examiner:
    def __init__(self, tree: Tree, walk: ArchiveWalk | None, budget: Budget | None) -> None:
        self._tree = tree
        self._notes: dict[Entity, list[Defect]] = {}
        self._bodies = BodyChecks(self.note, walk, budget)
        self._field_room = _MAX_LONG_HEADERS_BYTES
        self._limit = tree.limit_exceeded

    def note(self, entity: Entity, name: str, offset: int, detail: str) -> None:
        """Keep a defect; offsets in a decoded source become that of the encoded part."""
        notes = self._notes.setdefault(entity, [])
        if sum(defect.name == name for defect in notes) >= _MAX_EQUAL:
            return
        source = entity.source
        while source.host is not None:
            offset = source.host.body_start
            source = source.host.source
        severity = DEFECTS[name].severity
        if detail == severities.SAME_AGAIN:
            severity = min(severity, Severity.LOW)
        notes.append(Defect(name, severity, entity.number, offset, detail))

    def run(self) -> Examination:
        tree = self._tree
        self._entities()
        check_bytes(tree, self._bodies.regular, self.note)
        if self._limit is not None:
            self.note(tree.root, "nesting-too-deep", 0, self._limit)
        names = {defect.name for notes in self._notes.values() for defect in notes}
        is_whole = severities.asks_for_views(names)
        explored = self._explored(is_whole=is_whole) if is_whole or self._bodies.seeds else []
        self._bodies.close()
        return self._conclusion(explored + self._bodies.shadows, self._limit or self._bodies.incomplete)

    def _explored(self, *, is_whole: bool) -> list[ShadowPart]:
        """Return what other readings show, and what is within contents, and within contents of what is there."""
        from defang_worker.mime.explore import Explorer  # noqa: PLC0415  # for rare mail

        explorer = Explorer(self._tree, self._bodies.damaged)
        shadows: list[ShadowPart] = []
        levels = 0
        while (seeds := self._bodies.take_seeds()) or is_whole:
            if levels == _MAX_LEVELS:
                self._limit = self._limit or "embedded-levels"
                break
            levels += 1
            for seed in seeds:
                self._hidden(seed)
            found = explorer.explore(seeds, is_whole=is_whole)
            is_whole = False
            for shadow in found:
                if shadow.is_leaf:
                    self._bodies.content(shadow)
            shadows += found
        if explorer.limit is not None:
            self._limit = self._limit or explorer.limit
            self.note(self._tree.root, "nesting-too-deep", 0, explorer.limit)
        return shadows

    def _entities(self) -> None:
        tree = self._tree
        deepest = tree.root
        multiparts: list[Entity] = []
        for entity in tree.walk():
            if entity.depth > deepest.depth:
                deepest = entity
            if entity.boundary is not None:
                multiparts.append(entity)
            self._entity(entity)
        for entity in multiparts:
            check_near_delimiters(entity, self._bodies.regular, self.note)
        check_strays(tree, self.note)
        check_nesting(deepest, tree.part_count, self.note)

    def _entity(self, entity: Entity) -> None:
        if self._field_room < 0:
            return
        header_bytes = min(entity.header_end - entity.start, entity.source.limits.max_header_bytes)
        if header_bytes > _LONG_HEADER_BYTES:
            self._field_room -= header_bytes
            if self._field_room < 0:
                self._limit = "header-size"
                return
        if _has_usual_form(entity):
            check_text_name(entity, self.note)
            if not _is_mere_text(entity):
                check_entity(entity, (), self.note)
                self._bodies.entity(entity, entity.transfer_encoding)
            return
        fields = _check_fields(entity, self.note)
        declared = [field.raw for field in fields if field.name == b"content-transfer-encoding"]
        self._bodies.entity(entity, encodings(declared[0])[0] if declared else "7bit")

    def _hidden(self, seed: Seed) -> None:
        """Note of the leaf that has it what is wrong with an entity in a content; `explore.py` shows its parts."""
        host = seed.host

        def note(entity: Entity, name: str, _offset: int, detail: str) -> None:
            if name == "mime-version" and entity.parent is None and not seed.is_message:
                return  # what is in S/MIME needs none: RFC 8551 section 3.1
            self.note(host, name, host.start, detail)

        for entity in parse(seed.content, host.source.limits).walk():
            self._field_room -= entity.header_end - entity.start
            if self._field_room < 0:
                return
            if _has_usual_form(entity):
                check_text_name(entity, note)
                check_entity(entity, (), note)
            else:
                _check_fields(entity, note)
            check_near_delimiters(entity, [], note)

    def _conclusion(self, shadows: list[ShadowPart], limit: str | None) -> Examination:
        divergence = severities.divergence(self._tree, shadows, self._notes)
        found: list[Defect] = []
        for entity, notes in self._notes.items():
            corrected = tuple(severities.corrected(defect, divergence) for defect in notes)
            entity.defects = corrected
            found += corrected
        found.sort(key=lambda defect: -defect.severity)
        views = {shadow.view for shadow in shadows if shadow.view not in severities.NO_VIEWS}
        return Examination(shadows=tuple(shadows), defects=tuple(found), incomplete=limit, view_count=1 + len(views))


def _check_fields(entity: Entity, note: Note) -> list[MimeField]:
    """Note what is wrong with an entity's header and its parts; return its MIME fields."""
    fields = check_header(entity, note)
    if fields:
        if _wants_version(entity):
            check_mime_version(entity, fields, note)
        check_names(entity, fields, note)
    check_entity(entity, fields, note)
    return fields


def _has_usual_form(entity: Entity) -> bool:
    """Tell whether the header leaves nothing to check: usual fields, a blank line, a version where one must be."""
    usual = entity.usual
    return (
        usual is not None
        and entity.start < entity.header_end < entity.body_start
        and (usual.has_version or not usual.has_fields or not _wants_version(entity))
        and entity.boundary == usual.opening.boundary  # nesting that is too deep is not opened
    )


def _wants_version(entity: Entity) -> bool:
    parent = entity.parent
    return parent is None or parent.content_type in {"message/rfc822", "message/global"}


def _is_mere_text(entity: Entity) -> bool:
    """Tell of a leaf with a header of the usual form whether nothing can be wrong with the body either."""
    return (
        entity.transfer_encoding in _UNENCODED
        and entity.content_type[:2] not in {"mu", "me"}  # multipart and message
        and not is_opened_by_name(entity.content_type, entity.filenames)
        and not entity.children
        and is_mere_text(entity.source.buffer, entity.body_start, entity.end)
    )
