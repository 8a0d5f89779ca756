# SPDX-License-Identifier: GPL-3.0-or-later
"""The examination of a message: its defects, and the parts that only other readings of it have.

The strict tree comes from `parse.py`. Ordinary mail ends with a look at its headers and the shape of its bodies;
only what is seen there makes the examination build other views.
"""

from dataclasses import dataclass

from defang_worker.mime.defects import Defect, Severity, worst_severity
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is wrong with a message, and what else is in it."""

    shadows: tuple[ShadowPart, ...] = ()
    """Parts that are not in the strict tree: of other views, and files within contents."""
    defects: tuple[Defect, ...] = ()
    """Of the message and all its parts, the worst first; severities corrected by what the views show."""
    incomplete: str | None = None
    """None, or why the message was not examined completely: the name of a limit, or "archive-encrypted"."""
    view_count: int = 1
    """In how many ways the message can be read; files within contents make no view."""

    @property
    def worst(self) -> Severity:
        """The highest severity of all defects; INFO if there are none."""
        return worst_severity(self.defects)


def examine(tree: Tree) -> Examination:
    """Return the examination of `tree`; its entities have their `defects` afterwards. Never raises on any bytes.

    Kept in `tree.examination`: a second call costs nothing.
    """
    if tree.examination is None:
        tree.examination = Examination(incomplete=tree.limit_exceeded)
    return tree.examination
