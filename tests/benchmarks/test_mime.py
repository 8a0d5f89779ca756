# SPDX-License-Identifier: GPL-3.0-or-later
"""The MIME engine's benchmark: its inputs are what they say. What they cost is measured there, not here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import mime
from benchmarks.messages import KIB
from defang_worker.mime import parse

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 8 * KIB


@pytest.mark.parametrize("make", mime.HOSTILE.values(), ids=mime.HOSTILE)
def test_hostile_input_grows_to_the_size_asked_for_and_is_read(make: Callable[[int], bytes]) -> None:
    message = make(SIZE)
    assert 0.6 * SIZE < len(message) <= 1.1 * SIZE
    mime.read(message)


def test_honest_mail_has_the_parts_that_the_table_tells_of() -> None:
    tree = parse(mime.parts_message(50))
    assert (len(list(tree.leaves())), tree.part_count) == (50, 51)
    assert {case.unit for case in mime.cases()} == {"ms", "KiB", "times"}


def test_the_growth_of_a_cost_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    costs = iter([10.0, 20.0, 10.0, 40.0])
    monkeypatch.setattr(mime, "HOSTILE", {"good": bytes, "bad": bytes})
    monkeypatch.setattr(mime, "cpu_ms", lambda *_arguments: next(costs))
    assert not mime.measure_doublings(KIB, 2)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| good | 10.0 | 20.0 | 2.0 |  |",
        "| bad | 10.0 | 40.0 | 4.0 | more than linear |",
    ]
