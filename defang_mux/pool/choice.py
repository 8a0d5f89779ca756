# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of several idle workers gets a request (protocol.md, Multiplexor). Called by `policy`."""

from defang_mux.pool.state import Kind, Slot


def choose(idle: list[Slot], wanted: Kind) -> Slot:
    """The idle worker (newest idle last) that suits a request of this kind best.

    A worker that did the same kind last has its caches warm for it; among such, and before
    those that did nothing yet, the one started earliest. Where none fits, the one started
    earliest of all, so that the younger ones stay idle long enough to be ended.
    """
    choice: Slot | None = None
    for slot in reversed(idle):
        if slot.last is not wanted and slot.last is not None:
            continue
        if choice is None or choice.last is not wanted or slot.activated < choice.activated:
            choice = slot
    return choice or min(idle, key=lambda slot: slot.activated)
