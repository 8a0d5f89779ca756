# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a long run has come, on standard error: one line that is rewritten on a terminal, else a line each tenth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_TENTHS: Final = 10
_CLEAR_LINE: Final = "\r\x1b[K"


class Progress:
    """Counts up to `total` within a `with` block; nothing of it stays on a terminal."""

    def __init__(self, out: TextIO, total: int) -> None:
        self._out = out
        self._total = total
        self._tenths = 0
        self._is_terminal = out.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def step(self, done: int) -> None:
        """That many are done."""
        if self._is_terminal:
            self._out.write(f"{_CLEAR_LINE}{done} of {self._total}")
            self._out.flush()
        elif (tenths := done * _TENTHS // self._total) > self._tenths:
            self._tenths = tenths
            self._out.write(f"{done} of {self._total} messages\n")
            self._out.flush()

    def clear(self) -> None:
        """Makes room for other output on the same terminal."""
        if self._is_terminal:
            self._out.write(_CLEAR_LINE)
            self._out.flush()
