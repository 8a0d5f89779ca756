# SPDX-License-Identifier: GPL-3.0-or-later
"""Something that many may ask for at once, but that is done once at a time: rereading the filter. Called by `crew`."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

Result = TypeVar("Result")


class _Turn(Generic[Result]):
    """One time that it is done, for all who have asked before it began."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.result: Result


class Merged(Generic[Result]):
    """Does `do` for whoever calls it: one time runs and one is to come, however many call.

    Everybody gets the result of a time that began after the call, for what it looks at may have changed meanwhile. It
    runs in `nursery`, so that a caller who gives up takes it from nobody else.
    """

    def __init__(self, do: Callable[[], Awaitable[Result]], nursery: trio.Nursery) -> None:
        self._do = do
        self._nursery = nursery
        self._one_at_a_time = trio.Lock()
        self._to_come: _Turn[Result] | None = None

    async def __call__(self) -> Result:
        """The result; raises what `do` raises through the nursery."""
        turn = self._to_come
        if turn is None:
            turn = self._to_come = _Turn()
            self._nursery.start_soon(self._take, turn)
        await turn.done.wait()
        return turn.result

    async def _take(self, turn: _Turn[Result]) -> None:
        async with self._one_at_a_time:
            self._to_come = None
            turn.result = await self._do()
        turn.done.set()
