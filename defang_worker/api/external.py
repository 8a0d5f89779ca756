# SPDX-License-Identifier: GPL-3.0-or-later
"""`Part.filter_through`: a part's content given to another program, and what that makes of it put in its place.

Loaded when a filter first asks for it. The program sees a copy of the content on its standard input, and no file of the
message, so nothing that it does reaches other parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from defang_worker import programs
from defang_worker.mime import compose
from defang_worker.mime.new_body import with_body
from defang_worker.mime.shadow import ShadowPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.part import Part


def filter_through(part: Part, argv: Sequence[str], timeout_s: float) -> bool:
    """Whether the program made a difference; raises ProgramFailed, and ValueError for a container."""
    if not part.is_leaf:
        raise ValueError("only a part with a body can be filtered through a program")
    old = part.data
    new = programs.run(argv, old, timeout_s=timeout_s, directory=part.message.envelope.directory)
    if new == old:
        return False
    message, entity = part.message, part.shown
    if isinstance(entity, ShadowPart):
        part.put(
            compose.entity(part.content_type, new, filename=part.filename, disposition=part.disposition or "attachment")
        )
    else:
        is_root = not isinstance(part.entity, ShadowPart) and part.entity.is_message_root
        part.put(
            with_body(entity, new, message.newline, eight_bit=message.takes_eight_bit, content_only=is_root),
        )
    return True
