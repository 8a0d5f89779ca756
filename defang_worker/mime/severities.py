# SPDX-License-Identifier: GPL-3.0-or-later
"""Which defects ask for other views, and what the views make of the severities.

Readings that agree turn a medium defect to a low one; readings that differ make each defect of the kind at least
medium, and high if they differ in the names that exist. So careless but harmless senders stay deliverable, whatever
the table says.
"""

from typing import Final

from defang_worker.mime.defects import DEFECTS, Defect, Severity
from defang_worker.mime.filenames import canonical, extension
from defang_worker.mime.shadow import INSIDE, ShadowPart
from defang_worker.mime.tree import Entity, Tree

SAME_AGAIN: Final = "the same again"
"""The detail of a repetition that changes nothing."""

NO_VIEWS: Final = INSIDE | {"preamble-text", "epilogue-text"}
"""Views of what is within contents, or around parts; no reader disputes it."""

# These concern one name, type or archive; no reader gets other parts out of them.
_ONE_READING: Final = frozenset(
    {
        "mime-version",
        "line-too-long",
        "unknown-multipart",
        "raw-8bit-parameter",
        "encoded-word-in-parameter",
        "conflicting-names",
        "bad-disposition",
        "message-partial",
        "message-external-body",
        "message-in-leaf",
        "undeclared-encoding",
        "nesting-too-deep",
        "missing-terminator",
        "base64-odd-lines",
    }
)
# Of fields that name a file: here the readings are the names of the entity itself.
_OF_NAMES: Final = frozenset(
    {
        "duplicate-parameter",
        "duplicate-disposition",
        "comment-in-mime-field",
        "parameter-separator",
        "space-around-equals",
        "unbalanced-quote",
        "bad-continuation",
        "bad-parameter-charset",
        "odd-folding",
        "odd-quoting",
        "odd-whitespace",
        "nul-byte",
    }
)


def is_of_views(name: str) -> bool:
    """Tell whether a defect is one of readings, rather than of one name, type or archive."""
    return not name.startswith(("name-", "archive-", "smime-")) and name not in _ONE_READING


def asks_for_views(names: set[str]) -> bool:
    """Tell whether any of these defects may hide parts from the strict reading."""
    # All readers take LF for a line end.
    return any(DEFECTS[name].severity > Severity.INFO and is_of_views(name) for name in names if name != "bare-lf")


def divergence(tree: Tree, shadows: list[ShadowPart], notes: dict[Entity, list[Defect]]) -> Severity:
    """Return INFO if all readings agree, MEDIUM if contents differ, HIGH if names do."""
    others = [shadow for shadow in shadows if shadow.view not in NO_VIEWS]
    worst = Severity.MEDIUM if others else Severity.INFO
    if others:
        known = {canonical(name) for entity in tree.walk() for name in entity.filenames}
        if any(canonical(name) not in known for shadow in others for name in shadow.filenames):
            return Severity.HIGH
    for entity, defects in notes.items():
        if any(defect.name in _OF_NAMES for defect in defects):
            extensions = {extension(name) for name in entity.filenames if "=?" not in name}
            if len(extensions) > 1:
                return Severity.HIGH
    return worst


def corrected(defect: Defect, diverging: Severity) -> Defect:
    """Return the defect with the severity that the views warrant."""
    if defect.severity == Severity.INFO or defect.detail == SAME_AGAIN:
        return defect
    if not is_of_views(defect.name):
        return defect
    if diverging == Severity.INFO:
        return defect.with_severity(Severity.LOW) if defect.severity == Severity.MEDIUM else defect
    return defect.with_severity(max(defect.severity, diverging))
