# SPDX-License-Identifier: GPL-3.0-or-later
"""`Message.signature_forecast`: what the filter has asked for so far, applied to a copy and compared.

Loaded when a filter asks. The comparison itself is `mime/signatures.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from defang_worker.api.delivery import headers_after
from defang_worker.mime.protected import EditRefused
from defang_worker.mime.signatures import SignatureForecast, forecast_headers, forecast_parts

if TYPE_CHECKING:
    from defang_worker.api.message import Message
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
    after = headers_after(message.headers.fields(), rebuilt)
    old_body = message.raw[tree.root.body_start :]
    return SignatureForecast(
        headers=forecast_headers(before, after, old_body, rebuilt.to_bytes() if rebuilt is not None else None),
        parts=forecast_parts(tree, message.body.new_entities),
        refused=refused,
    )
