# SPDX-License-Identifier: GPL-3.0-or-later
"""Event lines as MIMEDefang writes them, for the tools that read these: the queue ID, MDLOG, and seven fields
divided by commas.

Pure; `Message.log_event` calls it. Loaded when an event is logged.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from defang_common.wire.requests import NO_QUEUE_ID
from defang_worker.api.words import to_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

_ESCAPED: Final = re.compile(rb"[^ -~]|[%\\,]")
_BLANK: Final = re.compile(r"\s+")
# What reads the lines counts on two values; more are allowed, and follow these.
_LEAST_VALUES: Final = 2


def lines(
    *,
    log_id: str,
    event: str,
    values: Sequence[object],
    sender: str,
    recipients: Sequence[str],
    subject: bytes,
    per_message: bool,
) -> list[str]:
    """A line for each recipient, or with `per_message` one that says how many there are, if there are several."""
    told = [str(value) for value in values]
    told += [""] * (_LEAST_VALUES - len(told))
    mark = "MDLOG" if log_id == NO_QUEUE_ID.decode() else f"{_escaped(log_id)}: MDLOG"
    head = [mark, _escaped(log_id), _escaped(_BLANK.sub("_", event)), *map(_escaped, told), _escaped(sender.lower())]
    if per_message and len(recipients) != 1:
        named = [f"rcpts={len(recipients)}"]
    else:
        named = [_escaped(one.lower()) for one in recipients]
    tail = _escaped(subject)
    return [",".join([*head, recipient, tail]) for recipient in named]


def _escaped(text: str | bytes) -> str:
    raw = to_bytes(text) if isinstance(text, str) else text
    return _ESCAPED.sub(lambda match: b"%%%02X" % ord(match[0]), raw).decode("ascii")
