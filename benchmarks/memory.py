# SPDX-License-Identifier: GPL-3.0-or-later
"""What the processes of a filter take when all its workers have filtered mail; one contestant after the other.

Not both at once: the pages of libraries would be shared by the two. What other processes of the machine share with them
(a C library, an interpreter) lowers the figures of both a little.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import load, messages
from benchmarks.contestants import contestants
from benchmarks.report import MemoryReading

WORKERS = 10
MESSAGES = 400
# Twice as many as workers: all of them get their share.
_SESSIONS = 2 * WORKERS
_SIZE = "2.7k"


def readings(names: list[str]) -> Iterator[MemoryReading]:
    """One for each name. LoadFailed if a message was lost, or a worker had nothing to do."""
    message = messages.named(_SIZE)
    for name in names:
        with contestants([name], workers=WORKERS) as (one,):
            load.run(load.Load(address=one.address, message=message, count=MESSAGES, sessions=_SESSIONS))
            fewest = min(one.scans(number) for number in range(WORKERS))
            if fewest == 0:
                raise load.LoadFailed(f"{name}: a worker had no message to filter; its memory would tell nothing")
            yield MemoryReading(contestant=name, workers=WORKERS, messages=MESSAGES, fewest=fewest, memory=one.memory())
