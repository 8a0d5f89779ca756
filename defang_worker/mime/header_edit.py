# SPDX-License-Identifier: GPL-3.0-or-later
"""New header bytes of an entity: some fields changed, all others as they came.

Takes an entity, gives bytes; for `rebuild.py` and `boilerplate.py`. The header of the message itself is
changed by the mail server: see `HeaderChange` in `output.py`.
"""

from collections.abc import Mapping

from defang_worker.mime.tree import Entity

FieldChanges = Mapping[str, str | None]
"""Name to new value; None deletes. Every copy of a field goes, the new value stands where the first one was."""


def is_content(name: bytes) -> bool:
    """True for the name of a field that tells about the body (RFC 2045 section 9)."""
    return name[:8].lower() == b"content-"


def is_field_value(value: str) -> bool:
    """True if `value` can stand in a header: no line end but a fold's, and no NUL."""
    lines = value.split("\n")
    return "\r" not in value and "\0" not in value and all(line[:1] in {" ", "\t"} for line in lines[1:])


def header_with(entity: Entity, changes: FieldChanges, newline: bytes, *, content_only: bool = False) -> bytes:
    """Return the header of `entity` with `changes` made, a line end after each field and no blank line.

    With `content_only` fields other than Content-* are left out: they are a message's, and stay with it.
    """
    waiting = {name.lower().encode("latin-1"): (name, value) for name, value in changes.items()}
    lines: list[bytes] = []
    for field in entity.headers.fields:
        key = field.name.lower()
        if content_only and not is_content(field.name):
            continue
        if key not in waiting:
            lines.append(entity.headers.raw(field))
        elif waiting[key][1] is not None:
            lines.append(_field(*waiting[key], newline))
            waiting[key] = (waiting[key][0], None)
    lines += (_field(name, value, newline) for name, value in waiting.values() if value is not None)
    return b"".join(line + newline for line in lines)


def _field(name: str, value: str | None, newline: bytes) -> bytes:
    return f"{name}: {value}".encode("utf-8", "surrogateescape").replace(b"\n", newline)
