# SPDX-License-Identifier: GPL-3.0-or-later
"""A message as SpamAssassin expects one: as a mailbox has it, with the fields of the hop that ends here on top.

SpamAssassin reads client, HELO and envelope sender out of these fields, and knows nothing else of the connection.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from defang_worker.api.message import Message

__all__ = ["as_in_a_mailbox"]

# What would end a field, or start another.
_CONTROL: Final = re.compile(rb"[\0-\x1f\x7f]+")


def as_in_a_mailbox(message: Message, *, apparently_to: bool = False, as_delivered: bool = False) -> bytes:
    """The message as it came, or with what the filter has changed, with Return-Path and a Received of this hop.

    With `apparently_to` all envelope recipients are shown, too: rules for them need it, and Bayes learns from it.
    """
    envelope = message.envelope
    fields = [_field("Return-Path", envelope.sender), b"Received: " + _bytes(message.received_header()) + b"\n"]
    if apparently_to:
        fields.append(_field("Apparently-To", ", ".join(one.address for one in envelope.recipients)))
    content = message.as_delivered() if as_delivered else message.raw
    # spamd reads by lines, and would wait for the end of one without line end.
    return b"".join([*fields, content, b"" if content[-1:] == b"\n" else b"\n"])


def _field(name: str, value: str) -> bytes:
    return b"%b: %b\n" % (name.encode("ascii"), _CONTROL.sub(b"", _bytes(value)))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
