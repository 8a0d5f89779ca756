# SPDX-License-Identifier: GPL-3.0-or-later
"""What a killed front end has left in the spool, and when it goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from defang_common.wire.spool import KEEP_MARK
from defang_milter import leftovers


@pytest.fixture
def left(spool: Path) -> Path:
    """A working directory of a message that nobody works on."""
    directory = spool / "mdefang-Q1"
    (directory / "Work").mkdir(parents=True)
    (directory / "INPUTMSG").write_text("x")
    return directory


def test_working_directories_go_and_nothing_else_does(spool: Path, left: Path) -> None:
    (spool / "poison").mkdir()
    (spool / "mdefang-file").touch()
    (spool / "mdefang-link").symlink_to(spool / "poison")
    os.close(leftovers.remove(spool, keep=False))
    assert sorted(path.name for path in spool.iterdir()) == ["mdefang-file", "mdefang-link", "poison"]


def test_they_stay_if_directories_are_kept(spool: Path, left: Path) -> None:
    os.close(leftovers.remove(spool, keep=True))
    assert left.exists()
    (spool / KEEP_MARK).touch()
    os.close(leftovers.remove(spool, keep=False))
    assert left.exists()


def test_they_stay_while_another_front_end_serves_the_spool(spool: Path, left: Path) -> None:
    first = leftovers.remove(spool, keep=True)
    second = leftovers.remove(spool, keep=False)
    assert left.exists()
    os.close(first)
    os.close(second)
    os.close(leftovers.remove(spool, keep=False))
    assert not left.exists()
