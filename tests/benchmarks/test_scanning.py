# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of what the check adds to clamd: quickest rounds are compared, and a limit that is passed is marked."""

from __future__ import annotations

from benchmarks.scanning import LIMIT_MS, Case, table


def case(check_ms: list[float], bare_ms: list[float]) -> Case:
    return Case(name="x", check=lambda _: print, bare=lambda _: print, check_ms=check_ms, bare_ms=bare_ms)


def test_quickest_rounds_are_compared_with_the_limit() -> None:
    within, beyond = case([9.0, 2.5], [1.0, 7.0]), case([LIMIT_MS + 1.5], [1.0])
    assert (within.added_ms, beyond.added_ms) == (1.5, LIMIT_MS + 0.5)
    first, second = table([within, beyond]).splitlines()[2:]
    assert first.split("|")[2:6] == [" 1.00 ms ", " 2.50 ms ", " 1.50 ms ", " 2.00 ms "]
    assert ("too much" in first, "too much" in second) == (False, True)
