# SPDX-License-Identifier: GPL-3.0-or-later
"""Which messages kill their workers, and when the message is to blame and not the filter or the host. Pure.

A message is its content's digest, for a mail server that tries again comes with the same content under another queue
ID. `process.poison_guard` tells of deaths and asks before a scan; what becomes of a condemned message is its business.
"""

from collections import OrderedDict
from dataclasses import dataclass
from signal import Signals
from typing import Final

# The second death could still be chance; a third worker is not given.
_DEATHS_TO_CONDEMN: Final = 2
# So many different messages that lost their workers within so short a time have the filter in common, or something that
# it asks (a scanner that hangs), or the host: then no message is condemned.
_BLAMED_MESSAGES: Final = 4
_BLAME_WINDOW_S: Final = 900.0
# Mail servers try for five days (RFC 5321, 4.5.4.1); who comes later than that is a new message.
_KEPT_S: Final = 6 * 86_400.0
_MOST_KEPT: Final = 500

# By these somebody ends a process from outside, KILL also being what the kernel does when memory runs out on the host:
# whichever message the worker had in work is not to blame.
_ORDERS: Final = frozenset({Signals.SIGKILL, Signals.SIGTERM, Signals.SIGINT, Signals.SIGHUP, Signals.SIGQUIT})


@dataclass(frozen=True, slots=True)
class Content:
    """A message by what is in it."""

    size_bytes: int
    digest: str


@dataclass(slots=True, kw_only=True)
class Suspect:
    """A message that lost a worker, or more than one. Times are the pool's `now`."""

    deaths: int = 0
    last_at: float = 0.0
    scanned_before: int = 0
    """How many scans had gone well, of all messages, when it lost its first worker."""
    cause: str = ""
    """How it lost the last one."""


def is_order(ended_by: int | None) -> bool:
    """Whether a process that was ended by this signal (None: by none) was ended by somebody's order."""
    return ended_by in _ORDERS


class PoisonMemory:
    """The suspects, of the latest so many days and of a bounded number. `scanned` counts scans that went well."""

    def __init__(self) -> None:
        # The one that died longest ago is first.
        self._suspects: OrderedDict[Content, Suspect] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._suspects)

    def __len__(self) -> int:
        return len(self._suspects)

    def died(self, content: Content, cause: str, *, now: float, scanned: int) -> Suspect:
        """A worker died over this message, or had to be given up."""
        suspect = self._suspects.pop(content, None) or Suspect(scanned_before=scanned)
        suspect.deaths += 1
        suspect.last_at = now
        suspect.cause = cause
        self._suspects[content] = suspect
        while len(self._suspects) > _MOST_KEPT:
            self._suspects.popitem(last=False)
        return suspect

    def may_know(self, size_bytes: int, now: float) -> bool:
        """Whether a message of this size may be one; False spares reading it."""
        while self._suspects:
            oldest, suspect = next(iter(self._suspects.items()))
            if now - suspect.last_at < _KEPT_S:
                break
            del self._suspects[oldest]
        return any(content.size_bytes == size_bytes for content in self._suspects)

    def condemned(self, content: Content, *, now: float, scanned: int) -> Suspect | None:
        """The message's record if it is not to get another worker.

        It has lost two, while the filter is known to work: others went well since the first loss, and few others
        were lost lately.
        """
        suspect = self._suspects.get(content)
        if suspect is None or suspect.deaths < _DEATHS_TO_CONDEMN:
            return None
        if scanned <= suspect.scanned_before or self.blames_filter(now):
            return None
        return suspect

    def blames_filter(self, now: float) -> bool:
        """Whether so many messages lost their workers lately that the filter must be at fault."""
        recent = 0
        for suspect in reversed(self._suspects.values()):
            if now - suspect.last_at >= _BLAME_WINDOW_S:
                break
            recent += 1
        return recent >= _BLAMED_MESSAGES

    def forget(self) -> None:
        """The filter may have been mended: everyone starts anew."""
        self._suspects.clear()
