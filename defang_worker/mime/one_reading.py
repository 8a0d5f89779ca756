# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that a rebuilt message has one reading left: it is put together as the mail server will, and examined.

Called with every canonical rebuild before it is used. What the content itself is (an encrypted archive) is no reading.
"""

from collections.abc import Sequence
from typing import Final

from defang_worker.mime.canonical_rebuild import CannotRebuild
from defang_worker.mime.defects import Severity
from defang_worker.mime.output import Rebuilt
from defang_worker.mime.parse import parse
from defang_worker.mime.rebuild import Rebuild
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.tree import Entity, Tree
from defang_worker.mime.views import Examination, examine

_OF_CONTENTS: Final = ("archive-", "smime-")
_OF_NAMES: Final = "name-"


def is_ambiguous(examination: Examination) -> bool:
    """Tell whether readers disagree about the parts of a message, so that a splice might leave what it removes.

    Names alone do not count: a part goes with all of its names.
    """
    if examination.view_count > 1:
        return True
    found = (defect.name for defect in examination.defects if defect.severity >= Severity.MEDIUM)
    return any(not name.startswith((*_OF_CONTENTS, _OF_NAMES)) and name != "conflicting-names" for name in found)


def rebuilt(tree: Tree, rebuild: Rebuild, gone: Sequence[ShadowPart] = ()) -> Rebuilt:
    """Return the canonical rebuild, in which no reading has the parts `gone`; raises EditRefused if there is none.

    A file inside a part's content comes back with that content: then the whole part goes.
    """
    for _ in range(2):
        result = rebuild.canonical_result()
        again = parse(delivered(tree, result), tree.root.source.limits)
        examination = examine(again)
        if (reason := second_reading(examination)) is not None:
            raise CannotRebuild(f"after a rebuild still: {reason}")
        left = {shadow.content for shadow in examination.shadows}
        left |= {entity.content for entity in again.walk() if not entity.children and _is_within_message(entity)}
        still_there = [shadow for shadow in gone if shadow.is_leaf and shadow.content in left]
        if not still_there:
            return result
        for shadow in still_there:
            rebuild.drop(shadow.host)
    raise CannotRebuild("a part that was dropped is still there in another reading")


def _is_within_message(entity: Entity) -> bool:
    """Tell whether it lies in an attached message, which may have been text before the rebuild told what it is."""
    place = entity.parent
    while place is not None:
        if place.content_type.startswith("message/"):
            return True
        place = place.parent
    return False


def examined(tree: Tree, result: Rebuilt) -> Examination:
    """Return the examination of the message that the mail server will make of `result`."""
    return examine(parse(delivered(tree, result), tree.root.source.limits))


def second_reading(examination: Examination) -> str | None:
    """Return in a few words what may still be read in two ways, or None if nothing may."""
    if examination.view_count > 1:
        return f"{examination.view_count} views"
    for defect in examination.defects:
        if defect.severity > Severity.INFO and not defect.name.startswith(_OF_CONTENTS):
            return f"{defect.name} in part {defect.part}" if defect.part else defect.name
    if examination.incomplete is not None and not examination.incomplete.startswith(_OF_CONTENTS):
        return f"over the limit for {examination.incomplete}"
    return None


def delivered(tree: Tree, result: Rebuilt) -> bytes:
    """Return the whole new message: its header as it came but for the changes, and the new body."""
    header = changed_header(tree, result)
    return header + tree.newline + result.to_bytes()


def changed_header(tree: Tree, result: Rebuilt) -> bytes:
    """Return the message's header after the changes, each line with its end; what is between fields stays there."""
    root, newline = tree.root, tree.newline
    buffer = root.source.buffer
    changes = {(change.name.lower(), change.occurrence): change for change in result.header_changes}
    counts: dict[str, int] = {}
    pieces: list[bytes] = []
    at = root.start
    for field in root.headers.fields:
        name = field.name.decode("latin-1")
        key = name.lower()
        counts[key] = counts.get(key, 0) + 1
        line_end = buffer.find(b"\n", field.end) + 1 or field.end
        pieces.append(buffer[at : field.start])
        at = line_end
        change = changes.pop((key, counts[key]), None)
        new = change.value if change is not None else None
        if key == "content-type" and result.content_type is not None:
            new = result.content_type
        if key == "content-type" and counts[key] > 1:
            continue  # the front end deletes the surplus (protocol.md, RESULTS)
        if new is not None:
            pieces.append(_line(name, new, newline))
        elif change is None:
            pieces.append(buffer[field.start : line_end])
    pieces.append(buffer[at : root.header_end])
    added = [(change.name, change.value) for change in changes.values() if change.value is not None]
    if result.content_type is not None:
        if "content-type" not in counts:
            added.append(("Content-Type", result.content_type))
        if "mime-version" not in counts:
            added.append(("MIME-Version", "1.0"))
    header = b"".join(pieces)
    if header and not header.endswith(b"\n"):
        header += newline
    return header + b"".join(_line(name, value, newline) for name, value in added)


def _line(name: str, value: str, newline: bytes) -> bytes:
    return f"{name}: {value}".encode("utf-8", "surrogateescape").replace(b"\n", newline) + newline
