# SPDX-License-Identifier: GPL-3.0-or-later
"""Status tags: what this worker is doing, for `md-mx-ctrl workers` (protocol.md, Worker).

One escaped line on descriptor 3 for each change, if the multiplexor asked for them (`-serveru`). They are for the eye
only: a pipe that is closed or full costs the tag, never the message.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from defang_common.wire import percent
from defang_worker.api.words import to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["STATUS_DESCRIPTOR", "StatusTags", "doing"]

STATUS_DESCRIPTOR: Final = 3

# What the original multiplexor reads at once; a longer line would be seen in pieces.
_MAX_LINE_BYTES: Final = 62


class StatusTags:
    """The tags of one worker; without a descriptor every call does nothing. Raises OSError for one that is not open."""

    __slots__ = ("_depth", "_descriptor")

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._depth = 0
        if descriptor is not None:
            os.set_blocking(descriptor, False)
            # A program that a filter leaves running must not keep the multiplexor's pipe open.
            os.set_inheritable(descriptor, False)

    def enter(self, text: str, queue_id: str) -> None:
        """Begins something, within what was begun before."""
        if self._descriptor is not None:
            self._depth += 1
            self._write(f"{self._depth}: > {text} {queue_id}")

    def leave(self, text: str, queue_id: str) -> None:
        """Ends what was begun last."""
        if self._descriptor is not None:
            self._depth -= 1
            self._write(f"{self._depth}: < {text} {queue_id}")

    def _write(self, text: str) -> None:
        raw = to_bytes(text)
        while len(line := percent.encode(raw)) > _MAX_LINE_BYTES:
            raw = raw[:-1]
        with suppress(OSError):
            os.write(self._descriptor or STATUS_DESCRIPTOR, line + b"\n")


class _Worker:
    tags = StatusTags(None)


def use(tags: StatusTags) -> None:
    """From now on these are the worker's tags."""
    _Worker.tags = tags


@contextmanager
def doing(text: str) -> Iterator[None]:
    """While inside, `md-mx-ctrl workers` shows the text for this worker: what a filter waits for, in a few words."""
    _Worker.tags.enter(text, "")
    try:
        yield
    finally:
        _Worker.tags.leave(text, "")
