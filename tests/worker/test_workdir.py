# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the working directory: read whole, written to the last byte or not at all."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from defang_common.wire import results
from defang_common.wire.errors import Unencodable
from defang_worker import workdir as files
from defang_worker.mime.output import Piece, Rebuilt


def rebuilt(*pieces: bytes) -> Rebuilt:
    return Rebuilt(pieces=tuple(Piece(piece, 0, len(piece)) for piece in pieces), content_type=None, header_changes=())


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_small_message_is_read_and_a_large_one_is_mapped(workdir: Path) -> None:
    small = files.open_message(str(workdir))
    assert isinstance(small, bytes)
    (workdir / "INPUTMSG").write_bytes(b"x" * 300_000)
    large = files.open_message(str(workdir))
    assert isinstance(large, mmap.mmap)
    assert large[:] == b"x" * 300_000


def test_empty_message_is_no_error(workdir: Path) -> None:
    (workdir / "INPUTMSG").write_bytes(b"")
    assert files.open_message(str(workdir)) == b""


def test_body_takes_the_place_of_an_older_one(workdir: Path) -> None:
    (workdir / "NEWBODY").write_bytes(b"x" * 100)
    files.write_body(str(workdir), rebuilt(*[b"%d\n" % number for number in range(3000)]))
    assert (workdir / "NEWBODY").read_bytes() == b"".join(b"%d\n" % number for number in range(3000))


def test_empty_body_is_written_as_an_empty_line(workdir: Path) -> None:
    files.write_body(str(workdir), rebuilt())
    assert (workdir / "NEWBODY").read_bytes() == b"\n"


def test_results_are_appended(workdir: Path) -> None:
    files.append_results(str(workdir), [results.Discard()])
    files.append_results(str(workdir), [results.Finish()])
    assert (workdir / "RESULTS").read_bytes() == b"D\nF\n"


def test_full_disk_is_an_error(workdir: Path) -> None:
    (workdir / "RESULTS").symlink_to("/dev/full")
    (workdir / "NEWBODY").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        files.append_results(str(workdir), [results.Finish()])
    with pytest.raises(OSError, match="No space left"):
        files.write_body(str(workdir), rebuilt(b"body"))


def test_what_goes_over_the_limit_is_not_written_in_part(workdir: Path) -> None:
    (workdir / "RESULTS").write_bytes(b"HX-A x\n" * 9000)
    with pytest.raises(Unencodable, match="65535"):
        files.append_results(str(workdir), [results.AddHeader(name=b"X", value=b"y" * 5000), results.Finish()])
    assert (workdir / "RESULTS").read_bytes() == b"HX-A x\n" * 9000


def test_no_descriptor_stays_open(workdir: Path) -> None:
    before = open_descriptors()
    files.read_commands(str(workdir))
    files.open_message(str(workdir))
    files.write_body(str(workdir), rebuilt(b"x"))
    files.append_results(str(workdir), [results.Finish()])
    assert open_descriptors() == before
