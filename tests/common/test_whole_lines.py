# SPDX-License-Identifier: GPL-3.0-or-later
"""Appending to a file of lines: all of them or none."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from defang_common.host import whole_lines

BEGUN = b"HX-A x\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "RESULTS"
    path.write_bytes(BEGUN)
    return path


def append(path: Path, lines: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        whole_lines.append(descriptor, os.fstat(descriptor).st_size, lines)
    finally:
        os.close(descriptor)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """The system takes that many bytes of a file; of what is written beyond, it takes a part, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_are_behind_those_that_are_there(file: Path) -> None:
    append(file, b"B554 no\nF\n")
    assert file.read_bytes() == BEGUN + b"B554 no\nF\n"


@pytest.mark.parametrize("room", range(len(b"B554 no\nF\n")))
def test_of_lines_that_do_not_fit_nothing_stays(file: Path, room: int) -> None:
    with room_for(len(BEGUN) + room), pytest.raises(OSError, match="File too large"):
        append(file, b"B554 no\nF\n")
    assert file.read_bytes() == BEGUN
    append(file, b"F\n")
    assert file.read_bytes() == BEGUN + b"F\n"


def test_file_that_ends_within_a_line_swallows_none(file: Path) -> None:
    file.write_bytes(BEGUN + b"HX-B half")
    with pytest.raises(OSError, match="ends within a line"):
        append(file, b"B554 no\nF\n")
    assert file.read_bytes() == BEGUN + b"HX-B half"


def test_empty_file_is_begun(file: Path) -> None:
    file.write_bytes(b"")
    append(file, b"F\n")
    assert file.read_bytes() == b"F\n"
