# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter wants changed in a message's body, collected until the last callback that may is done.

Parts call in when they are dropped or replaced; warnings and added parts are kept here. The MIME engine makes the new
body of it; a message that nobody changed is not rewritten.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from defang_common.wire import results
from defang_worker.mime import compose
from defang_worker.mime.rebuild import Rebuild

if TYPE_CHECKING:
    from defang_common.wire.results import Result
    from defang_worker.api.part import Part
    from defang_worker.api.settings import Settings
    from defang_worker.mime.output import Rebuilt
    from defang_worker.mime.tree import Tree

_log: Final = logging.getLogger("defang.worker")

_WARNING_NAME: Final = "warning.txt"


class Body:
    """The changes wanted for one message's body."""

    __slots__ = ("_added", "_changed", "_settings", "is_final", "warnings")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changed: dict[Part, None] = {}
        self._added: list[tuple[bytes, int]] = []
        self.warnings: list[str] = []
        self.is_final = False

    def may_change(self, verb: str) -> bool:
        """Whether it is not too late for that; if it is, the log says so."""
        if self.is_final:
            _log.warning("%s does nothing in filter_wrapup: the body is final", verb)
        return not self.is_final

    def part_changed(self, part: Part) -> None:
        """Notes a part that was kept, dropped or replaced."""
        self._changed[part] = None

    def add(self, entity: bytes, index: int) -> None:
        """Notes a part to add, header and body: before the index-th of those that came, or with -1 at the end."""
        self._added.append((entity, index))

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._added or self.warnings) or any(map(_is_changed, self._changed))

    def rebuild(self, tree: Tree) -> Rebuilt:
        """The new body."""
        rebuild = Rebuild(tree)
        for part in filter(_is_changed, self._changed):
            if part.replacement is None:
                rebuild.drop(part.entity)
            else:
                rebuild.replace(part.entity, part.replacement)
        if self.warnings:
            rebuild.insert(self._warning_entity(), self._settings.warning_index)
        for entity, index in self._added:
            rebuild.insert(entity, index)
        return rebuild.result()

    def _warning_entity(self) -> bytes:
        intro = self._settings.warning_intro.replace("{admin}", self._settings.admin)
        text = "\n".join(warning.rstrip("\n") + "\n" for warning in self.warnings)
        return compose.text_entity(f"{intro}\n{text}" if intro else text, filename=_WARNING_NAME)


def _is_changed(part: Part) -> bool:
    return part.is_dropped or part.replacement is not None


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
