# SPDX-License-Identifier: GPL-3.0-or-later
"""Each copy is handed over once, however many tries the whole takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.effects.contract import EffectFailed, Letter, LetterKind
from defang_worker.effects.ledger import submit_all


def letter(*recipients: str) -> Letter:
    return Letter(kind=LetterKind.COPY, sender="a@b", recipients=recipients, content=(b"x",))


LETTERS = tuple(letter(f"{name}@example.org") for name in "abcd")


class Mailer:
    """Takes letters, but for those whose turn is in `failing`."""

    def __init__(self, failing: set[int]) -> None:
        self.failing = failing
        self.turn = 0
        self.taken: list[Letter] = []

    def submit(self, one: Letter) -> None:
        self.turn += 1
        if self.turn in self.failing:
            raise EffectFailed("refused")
        self.taken.append(one)


@given(failing=st.sets(st.integers(1, 12), max_size=8))
def test_every_copy_goes_out_once_whatever_fails_between(
    failing: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("q") / "streams" / "x"
    mailer = Mailer(failing)
    for _ in range(len(failing) + 1):
        try:
            submit_all(LETTERS, str(path), mailer.submit)
        except EffectFailed:
            assert path.exists()
        else:
            break
    assert mailer.taken == list(LETTERS)
    assert not path.exists()


def test_nothing_is_submitted_without_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "streams").write_bytes(b"no directory")
    mailer = Mailer(set())
    with pytest.raises(EffectFailed, match="copies not submitted"):
        submit_all(LETTERS, str(tmp_path / "streams" / "x"), mailer.submit)
    assert mailer.taken == []


def test_another_worker_at_the_same_message_waits_for_the_clients_next_try(tmp_path: Path) -> None:
    path, inner, outer = str(tmp_path / "x"), Mailer(set()), Mailer(set())

    def submit(one: Letter) -> None:
        with pytest.raises(EffectFailed, match="another worker"):
            submit_all(LETTERS, path, inner.submit)
        outer.submit(one)

    submit_all(LETTERS, path, submit)
    assert (outer.taken, inner.taken) == (list(LETTERS), [])


def test_worker_that_is_killed_leaves_the_ledger_for_the_next(tmp_path: Path) -> None:
    path, mailer = str(tmp_path / "x"), Mailer(set())

    def submit(one: Letter) -> None:
        if mailer.turn == 2:
            raise KeyboardInterrupt
        mailer.submit(one)

    with pytest.raises(KeyboardInterrupt):
        submit_all(LETTERS, path, submit)
    mailer.turn = 10
    submit_all(LETTERS, path, submit)
    assert mailer.taken == list(LETTERS)
