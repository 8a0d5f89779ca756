# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding what begins with a dash, quickly past base64, which has none.

A single byte is found at the speed of memory; a longer pattern takes twenty times as long, and attachments are most of
what there is to search.
"""

from typing import Final

from defang_worker.mime.headers import Buffer

# How far the whole pattern is searched for behind a dash before the next dash is; much more than it is long, for that
# much is searched twice.
_WINDOW_BYTES: Final = 8 * 1024
_NEAR_BYTES: Final = 1024


def find_dashed(pattern: bytes, buffer: Buffer, start: int, end: int) -> int:
    """Return where `pattern` is first found whole between `start` and `end`, or -1; its first dash is what counts."""
    # Most often it is near, and one search the quickest.
    stop = start + _NEAR_BYTES
    found = buffer.find(pattern, start, min(stop, end))
    if found >= 0 or stop >= end:
        return found
    start = max(start, stop - len(pattern) + 1)
    before = pattern.index(b"-")
    window_bytes = max(_WINDOW_BYTES, 4 * len(pattern))
    at = start
    while (dash := buffer.find(b"-", at + before, end)) >= 0:
        stop = min(dash + window_bytes, end)
        found = buffer.find(pattern, dash - before, stop)
        if found >= 0:
            return found
        if stop == end:
            break
        # The pattern may begin in this window and end in the next.
        at = stop - len(pattern) + 1
    return -1
