# SPDX-License-Identifier: GPL-3.0-or-later
"""`Message.signature_forecast`: what the filter has asked for so far, applied to a copy and compared.

Loaded when a filter asks. The comparison itself is `mime/signatures.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from defang_worker.mime.protected import EditRefused
from defang_worker.mime.signatures import SignatureForecast, forecast_headers, forecast_parts

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.mime.output import Rebuilt
    from defang_worker.mime.signatures import HeaderField
    from defang_worker.mime.tree import Tree


def forecast(message: Message, tree: Tree) -> SignatureForecast:
    """The forecast for all signatures of the message."""
    refused, rebuilt = None, None
    if message.body.is_changed:
        try:
            rebuilt = message.body.rebuild(tree)
        except EditRefused as refusal:
            refused = str(refusal)
    before = message.headers_as_they_came()
    after = message.headers.fields()
    if rebuilt is not None:
        after = _changed(after, rebuilt)
    old_body = message.raw[tree.root.body_start :]
    return SignatureForecast(
        headers=forecast_headers(before, after, old_body, rebuilt.to_bytes() if rebuilt is not None else None),
        parts=forecast_parts(tree, message.body.new_entities),
        refused=refused,
    )


def _changed(fields: list[HeaderField], rebuilt: Rebuilt) -> list[HeaderField]:
    """The header after the changes that a new body asks for."""
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
