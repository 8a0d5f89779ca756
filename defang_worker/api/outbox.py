# SPDX-License-Identifier: GPL-3.0-or-later
"""`Outbox`: what a filter wants done outside of a message's working directory, until the scan has it carried out.

`store` comes before RESULTS is written: what a filter dropped is on disk by then. Whatever fails defers the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from defang_worker.effects.contract import Effects, PublishedFile


class Outbox:
    """The wishes of one message; most have none."""

    __slots__ = ("published",)

    def __init__(self) -> None:
        self.published: list[PublishedFile] = []

    def store(self, effects: Effects) -> None:
        """Puts onto disk what has to be there before the message goes on. Raises EffectFailed."""
        for file in self.published:
            effects.publish(file)
