# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter wants changed in a message's body, collected until the last callback that may is done.

Parts call in when they are dropped or replaced; warnings and added parts are kept here. The MIME engine makes the new
body of it; a message that nobody changed is not rewritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from defang_common.wire import results
from defang_worker.api.stages import Stage
from defang_worker.mime import compose
from defang_worker.mime.parse import parse
from defang_worker.mime.rebuild import Rebuild
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.views import examine

if TYPE_CHECKING:
    from defang_common.wire.results import Result
    from defang_worker.api.part import Part
    from defang_worker.api.settings import Settings
    from defang_worker.api.stages import Guard
    from defang_worker.mime.output import Rebuilt
    from defang_worker.mime.tree import Entity, Tree

_WARNING_NAME: Final = "warning.txt"
# Views whose parts are text in no part.
_OUTSIDE: Final = frozenset({"preamble-text", "epilogue-text"})


class Body:
    """The changes wanted for one message's body."""

    __slots__ = ("_added", "_changed", "_guard", "_settings", "one_reading", "warnings", "warnings_told")

    def __init__(self, settings: Settings, guard: Guard) -> None:
        self._settings = settings
        self._guard = guard
        self._changed: dict[Part, None] = {}
        self._added: list[tuple[bytes, int]] = []
        self.warnings: list[str] = []
        self.warnings_told = False
        """Whether the warnings stand in the text already, and need no part."""
        self.one_reading = False
        """Whether the message has to be rewritten so that one reading is left, even if nothing else changes."""

    def may_change(self, verb: str) -> bool:
        """Whether it is not too late for that; raises WrongStage under test."""
        return self._guard.allows(verb)

    def end_changes(self) -> None:
        """From now on nothing of the body may be changed."""
        self._guard.stage = Stage.WRAPUP

    def part_changed(self, part: Part) -> None:
        """Notes a part that was kept, dropped or replaced."""
        self._changed[part] = None

    def add(self, entity: bytes, index: int) -> None:
        """Notes a part to add, header and body: before the index-th of those that came, or with -1 at the end."""
        self._added.append((entity, index))

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._added or self.warnings or self.one_reading) or any(map(_is_changed, self._changed))

    @property
    def warning_intro(self) -> str:
        """What stands before the warnings."""
        return self._settings.warning_intro.replace("{admin}", self._settings.admin)

    @property
    def gone_numbers(self) -> set[str]:
        """The numbers of the parts that were dropped or replaced; empty for the message."""
        changed = (part for part in self._changed if not part.is_shadow and (part.is_dropped or part.replacement))
        return {"" if part.parent is None else part.number for part in changed}

    @property
    def new_entities(self) -> dict[Entity, Entity | None]:
        """What replaces parts that came, None for those that are dropped."""
        found: dict[Entity, Entity | None] = {}
        for part in filter(_is_changed, self._changed):
            entity = part.entity.host if isinstance(part.entity, ShadowPart) else part.entity
            if part.field_changes is None:
                found[entity] = None if part.replacement is None else parse(part.replacement).root
        return found

    def rebuild(self, tree: Tree) -> Rebuilt:
        """The new body; one with a single reading if the message that came has several.

        Raises EditRefused if that would change a signed or encrypted part, or cannot be done.
        """
        # Few messages are changed.
        from defang_worker.mime import one_reading  # noqa: PLC0415

        shadows = [part for part in self._changed if part.is_shadow]
        rebuild = self._rebuild(tree)
        if not self.one_reading and not one_reading.is_ambiguous(examine(tree)):
            for part in filter(_is_changed, shadows):
                _take_out(rebuild, part, tree.newline)
            return rebuild.result()
        for part in shadows:
            if part.replacement is not None:
                rebuild.insert(part.replacement)
            elif part.is_kept and part.is_leaf and isinstance(part.entity, ShadowPart) and not part.entity.stays_inside:
                rebuild.insert(_as_attachment(part))
        gone = [part.entity for part in shadows if isinstance(part.entity, ShadowPart) and _is_changed(part)]
        return one_reading.rebuilt(tree, rebuild, gone)

    def _rebuild(self, tree: Tree) -> Rebuild:
        """All changes but those of shadow parts."""
        rebuild = Rebuild(tree, collapse=self._settings.collapse)
        for part in filter(_is_changed, self._changed):
            entity = part.entity
            if isinstance(entity, ShadowPart):
                continue
            if part.field_changes is not None:
                rebuild.change_fields(entity, part.field_changes)
            elif part.replacement is None:
                rebuild.drop(entity)
            else:
                rebuild.replace(entity, part.replacement)
        if self.warnings and not self.warnings_told:
            rebuild.insert(self._warning_entity(), self._settings.warning_index)
        for new, index in self._added:
            rebuild.insert(new, index)
        return rebuild

    def _warning_entity(self) -> bytes:
        intro = self.warning_intro
        text = "\n".join(warning.rstrip("\n") + "\n" for warning in self.warnings)
        return compose.text_entity(f"{intro}\n{text}" if intro else text, filename=_WARNING_NAME)


def _is_changed(part: Part) -> bool:
    return part.is_dropped or part.replacement is not None or part.field_changes is not None


def _take_out(rebuild: Rebuild, part: Part, newline: bytes) -> None:
    """Removes a file within a part's content, the text around it staying if there is any; else that part goes."""
    from defang_worker.mime.boilerplate import without_file  # noqa: PLC0415  # few filters drop such files

    shadow = part.entity
    assert isinstance(shadow, ShadowPart)
    if shadow.view in _OUTSIDE:
        rebuild.clear_outside(shadow.host)
        if part.replacement is not None:
            rebuild.insert(part.replacement)
    elif part.replacement is not None:
        rebuild.replace(shadow.host, part.replacement)
    elif (without := without_file(shadow, newline)) is not None:
        rebuild.replace(shadow.host, without)
    else:
        rebuild.drop(shadow.host)


def _as_attachment(part: Part) -> bytes:
    return compose.entity("application/octet-stream", part.data, filename=part.filename, disposition="attachment")


def header_results(rebuilt: Rebuilt) -> list[Result]:
    """What a new body asks of the message header, as lines of RESULTS."""
    out: list[Result] = [results.ReplaceBody()]
    if rebuilt.content_type is not None:
        out.append(results.ChangeContentType(value=rebuilt.content_type.encode("utf-8", "surrogateescape")))
    for change in rebuilt.header_changes:
        name = change.name.encode("latin-1")
        if change.value is None:
            out.append(results.DeleteHeader(name=name, index=change.occurrence))
        else:
            value = change.value.encode("utf-8", "surrogateescape")
            out.append(results.ChangeHeader(name=name, index=change.occurrence, value=value))
    return out
