# SPDX-License-Identifier: GPL-3.0-or-later
"""`Endpoints`: the addresses of one service, of which the first that works is asked.

Each address has its circuit: one that is down costs nothing but a try from time to time. Called from the threads of
checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from defang_worker.checks.budget import Deadline
from defang_worker.checks.circuit import Circuit
from defang_worker.checks.faults import CouldNotTell, ServiceDown, ServiceFault

__all__ = ["Endpoints"]

_Value = TypeVar("_Value")

# What a connection that nobody accepts is told by.
_DOWN: Final = (ServiceDown, ConnectionRefusedError, FileNotFoundError, PermissionError)


class Endpoints:
    """Addresses in the order in which they are wanted; the one that worked last is asked first, unless that order is to
    be kept."""

    def __init__(self, addresses: str | Sequence[str], *, keeps_order: bool = False) -> None:
        self.addresses: Final = (addresses,) if isinstance(addresses, str) else tuple(addresses)
        if not self.addresses:
            raise ValueError("a service needs an address")
        self.circuits: Final = tuple(map(Circuit, self.addresses))
        self._preferred = 0
        self._keeps_order = keeps_order
        self._in_use: Circuit | None = None

    def call(self, ask: Callable[[str, Deadline], _Value], deadline: Deadline) -> _Value:
        """What the first address has to say that works; `ask` gets it with its share of the time.

        Raises ServiceFault with all reasons if none works, and passes on CouldNotTell, which no other address betters.
        """
        reasons = []
        asked = self._asked(time.monotonic())
        for left, number in zip(range(len(asked), 0, -1), asked, strict=True):
            address, circuit = self.addresses[number], self.circuits[number]
            if not circuit.may_try(time.monotonic()):
                continue
            self._in_use = circuit
            try:
                value = ask(address, deadline.sooner(deadline.left_s() / left))
            except (ServiceFault, OSError) as fault:  # a TimeoutError is an OSError
                reason = str(fault) or type(fault).__name__
                circuit.failed(reason, time.monotonic(), is_down=isinstance(fault, _DOWN))
                reasons.append(f"{address}: {reason}")
            except CouldNotTell:
                circuit.worked()
                raise
            else:
                circuit.worked()
                self._preferred = 0 if self._keeps_order else number
                return value
            finally:
                self._in_use = None
        if not reasons:
            raise ServiceDown(f"not asked: {self.circuits[0].reason}")
        raise ServiceFault("; ".join(reasons))

    def _asked(self, now: float) -> list[int]:
        """The numbers of those to be asked now, the preferred one first, and those that are down last."""
        there = [number for number, circuit in enumerate(self.circuits) if not circuit.is_resting(now)]
        return sorted(there, key=lambda number: (self.circuits[number].is_open, number != self._preferred))

    def gave_up(self, reason: str) -> None:
        """The call did not even keep its deadline."""
        if circuit := self._in_use:
            circuit.failed(reason, time.monotonic(), is_down=False)
