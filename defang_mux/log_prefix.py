# SPDX-License-Identifier: GPL-3.0-or-later
"""How a log line about a request begins."""

from defang_common.wire.requests import NO_QUEUE_ID, queue_id_of


def log_prefix(line: bytes) -> str:
    """The queue ID in a request line with a colon behind it, or nothing."""
    queue_id = queue_id_of(line)
    if not queue_id or queue_id == NO_QUEUE_ID:
        return ""
    return queue_id.decode("ascii", "backslashreplace") + ": "
