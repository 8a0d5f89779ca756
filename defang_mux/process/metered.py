# SPDX-License-Identifier: GPL-3.0-or-later
"""A limit on what one worker has logged: a filter that writes without end must not fill disks, nor keep us busy.

What is too much is counted, and its last lines are kept, for the cause of a death stands there. Called by `slot` and
`template`, a meter for each process.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

# Stacks of some threads, a filter that tells all about a message.
_AT_ONCE: Final = 1000
# Of lines that a worker writes on each message, no worker has as many: scans take milliseconds.
_LINES_PER_S: Final = 200
# As many have to be allowed again before lines go on, lest every second one be about what was left out.
_RESUME_AT: Final = _LINES_PER_S
# The stack of a worker that dies.
_KEPT_LINES: Final = 50


class Meter:
    """Hands lines on to `say`, 1000 at once and 200 a second in the long run, and tells of those that it does not."""

    __slots__ = ("_allowed", "_at", "_kept", "_left_out", "_say")

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._allowed = float(_AT_ONCE)
        self._at = 0.0
        self._left_out = 0
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)

    def take(self, line: str, now: float) -> None:
        """A line that was written at `now`, in seconds of a clock that does not go back."""
        self._allowed = min(_AT_ONCE, self._allowed + (now - self._at) * _LINES_PER_S)
        self._at = now
        if self._left_out and self._allowed >= _RESUME_AT:
            self._tell(self._left_out)
            self._kept.clear()
        if self._left_out or self._allowed < 1:
            self._left_out += 1
            self._kept.append(line)
            return
        self._allowed -= 1
        self._say(line)

    def settle(self) -> None:
        """Says what has been left out so far, and the last lines of it; at the end of a request, or of the process."""
        if self._left_out:
            if self._left_out > len(self._kept):
                self._tell(self._left_out - len(self._kept))
            self._left_out = 0
            for line in self._kept:
                self._say(line)
            self._kept.clear()

    def _tell(self, count: int) -> None:
        self._left_out = 0
        self._say(f"({count} lines left out: it writes too many)")
