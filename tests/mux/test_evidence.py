# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of messages that cost workers: what is in them, how many there are, and what cannot be copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from defang_common.wire.results import Finish, Tempfail, decode
from defang_mux.pool.poison import Content
from defang_mux.process import evidence


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "mdefang-1"
    made.mkdir()
    (made / "INPUTMSG").write_bytes(b"Subject: x\n\nbody\n")
    (made / "COMMANDS").write_bytes(b"Q1\nF\n")
    (made / "RESULTS").write_bytes(b"HX y\n")
    return made


def keep(directory: Path, store: Path, death: str = "it died\n") -> evidence.Bundle:
    return evidence.keep(str(directory), evidence.content_of(str(directory)), store, death)


def test_digest_is_of_the_content_alone(directory: Path) -> None:
    first = evidence.content_of(str(directory))
    assert first.size_bytes == evidence.size_of(str(directory)) == 17
    (directory / "COMMANDS").write_bytes(b"Q2\nF\n")
    assert evidence.content_of(str(directory)) == first
    (directory / "INPUTMSG").write_bytes(b"Subject: y\n\nbody\n")
    assert evidence.content_of(str(directory)) != first


def test_bundle_has_what_a_trial_needs_and_every_death(directory: Path, tmp_path: Path) -> None:
    store = tmp_path / "poison"
    bundle = keep(directory, store)
    assert bundle.is_new
    assert sorted(file.name for file in bundle.path.iterdir()) == ["COMMANDS", "DEATHS", "INPUTMSG"]
    again = keep(directory, store, "it hung\n")
    assert again == evidence.Bundle(bundle.path, is_new=False)
    assert (bundle.path / "DEATHS").read_text() == "it died\nit hung\n"
    assert [entry.name for entry in store.iterdir()] == [bundle.path.name]


def test_bundles_are_bounded_in_number_and_the_oldest_go(directory: Path, tmp_path: Path) -> None:
    store = tmp_path / "poison"
    kept = []
    for number in range(evidence.MOST_BUNDLES + 2):
        (directory / "INPUTMSG").write_bytes(b"%d" % number)
        kept.append(keep(directory, store).path)
        os.utime(kept[-1] / "DEATHS", ns=(number, number))
    assert [path.exists() for path in kept] == [False, False, *[True] * evidence.MOST_BUNDLES]


def test_bundles_are_bounded_in_size(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MOST_BYTES", 40)
    store = tmp_path / "poison"
    first = keep(directory, store).path
    (directory / "INPUTMSG").write_bytes(b"Another one ab\n")
    assert keep(directory, store).path.exists()
    assert not first.exists()
    (directory / "INPUTMSG").write_bytes(b"x" * 41)
    with pytest.raises(evidence.NotKept, match="41 bytes"):
        keep(directory, store)


def test_what_was_left_half_made_is_removed(directory: Path, tmp_path: Path) -> None:
    store = tmp_path / "poison"
    (store / ".new-abc").mkdir(parents=True)
    bundle = keep(directory, store)
    assert list(store.iterdir()) == [bundle.path]


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_message_that_is_no_plain_file_is_not_read(directory: Path, kind: str) -> None:
    message = directory / "INPUTMSG"
    message.unlink()
    match kind:
        case "link":
            message.symlink_to("/etc/passwd")
        case "fifo":
            os.mkfifo(message)
        case _:
            message.mkdir()
    with pytest.raises(OSError, match=r"INPUTMSG|symbolic"):
        evidence.content_of(str(directory))


def test_results_are_added_to_those_of_checks(directory: Path) -> None:
    evidence.write_results(str(directory), [Tempfail(code=b"451", dsn=b"4.3.0", text=b"not now"), Finish()])
    data = (directory / "RESULTS").read_bytes()
    assert data.startswith(b"HX y\n")
    assert decode(data).verdict == Tempfail(code=b"451", dsn=b"4.3.0", text=b"not now")


def test_half_a_line_of_a_check_does_not_swallow_the_verdict(directory: Path) -> None:
    (directory / "RESULTS").write_bytes(b"HX half")
    with pytest.raises(OSError, match="ends within a line"):
        evidence.write_results(str(directory), [Tempfail(code=b"451", dsn=b"4.3.0", text=b"not now"), Finish()])


def test_failing_copy_leaves_nothing(directory: Path, tmp_path: Path) -> None:
    (directory / "HEADERS").mkdir()
    store = tmp_path / "poison"
    with pytest.raises(OSError, match="HEADERS"):
        evidence.keep(str(directory), Content(1, "abc"), store, "")
    assert list(store.iterdir()) == []
