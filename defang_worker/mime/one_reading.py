# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that a rebuilt message has one reading left: it is put together as the mail server will, and examined.

Called with every canonical rebuild before it is used. What the content itself is (an encrypted archive) is no reading.
"""

from defang_worker.mime.defects import Severity
from defang_worker.mime.output import Rebuilt
from defang_worker.mime.parse import parse
from defang_worker.mime.tree import Tree
from defang_worker.mime.views import Examination, examine

_OF_CONTENTS = "archive-"


def examined(tree: Tree, rebuilt: Rebuilt) -> Examination:
    """Return the examination of the message that the mail server will make of `rebuilt`."""
    return examine(parse(delivered(tree, rebuilt), tree.root.source.limits))


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


def delivered(tree: Tree, rebuilt: Rebuilt) -> bytes:
    """Return the whole new message: its header as it came but for the changes, and the new body."""
    header = changed_header(tree, rebuilt)
    return header + tree.newline + rebuilt.to_bytes()


def changed_header(tree: Tree, rebuilt: Rebuilt) -> bytes:
    """Return the message's header after the changes, each line with its end; what is between fields stays there."""
    root, newline = tree.root, tree.newline
    buffer = root.source.buffer
    changes = {(change.name.lower(), change.occurrence): change for change in rebuilt.header_changes}
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
        if key == "content-type" and rebuilt.content_type is not None:
            new = rebuilt.content_type
        if key == "content-type" and counts[key] > 1:
            continue  # the front end deletes the surplus (protocol.md, RESULTS)
        if new is not None:
            pieces.append(_line(name, new, newline))
        elif change is None:
            pieces.append(buffer[field.start : line_end])
    pieces.append(buffer[at : root.header_end])
    added = [(change.name, change.value) for change in changes.values() if change.value is not None]
    if rebuilt.content_type is not None:
        if "content-type" not in counts:
            added.append(("Content-Type", rebuilt.content_type))
        if "mime-version" not in counts:
            added.append(("MIME-Version", "1.0"))
    header = b"".join(pieces)
    if header and not header.endswith(b"\n"):
        header += newline
    return header + b"".join(_line(name, value, newline) for name, value in added)


def _line(name: str, value: str, newline: bytes) -> bytes:
    return f"{name}: {value}".encode("utf-8", "surrogateescape").replace(b"\n", newline) + newline
