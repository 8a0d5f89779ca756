# SPDX-License-Identifier: GPL-3.0-or-later
"""`Message.as_delivered`: the header and body that all wishes so far make, before the mail server has them.

Loaded when a filter asks, to sign a message for one. `headers_after` is for the forecast of signatures, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from defang_worker.mime.protected import EditRefused

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.mime.output import Rebuilt
    from defang_worker.mime.signatures import HeaderField
    from defang_worker.mime.tree import Tree


def as_delivered(message: Message, tree: Tree) -> bytes:
    """Header, blank line and body with LF line ends; the body that came, if the new one is refused."""
    rebuilt = message.final_body
    if rebuilt is None and message.body.is_changed and not message.is_rejected:
        try:
            rebuilt = message.body.rebuild(tree)
        except EditRefused:
            rebuilt = None
    fields = headers_after(message.headers.fields(), rebuilt)
    # As the front end writes INPUTMSG, and both mail servers what is new: one blank behind the colon.
    pieces = [b"%b: %b\n" % (name, value.removeprefix(b" ")) for name, value in fields]
    # An empty body is sent as one empty line (protocol.md, RESULTS).
    body = message.raw[tree.root.body_start :] if rebuilt is None else rebuilt.to_bytes() or b"\n"
    return b"".join([*pieces, b"\n", body])


def headers_after(fields: list[HeaderField], rebuilt: Rebuilt | None) -> list[HeaderField]:
    """The header after the changes that a new body asks for."""
    if rebuilt is None:
        return fields
    changes = [(change.name, change.occurrence, change.value) for change in rebuilt.header_changes]
    if rebuilt.content_type is not None:
        changes.append(("Content-Type", 1, rebuilt.content_type))
        if not any(name.lower() == b"mime-version" for name, _ in fields):
            changes.append(("MIME-Version", 1, "1.0"))
    for name, occurrence, value in changes:
        key = name.lower().encode("latin-1")
        places = [at for at, (known, _) in enumerate(fields) if known.lower() == key][occurrence - 1 :][:1]
        new = [] if value is None else [(name.encode("latin-1"), b" " + value.encode("utf-8", "surrogateescape"))]
        at = places[0] if places else len(fields)
        fields = [*fields[:at], *new, *fields[at + len(places) :]]
    return fields
