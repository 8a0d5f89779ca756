# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries and published files appear whole or not at all, under names of their own."""

from __future__ import annotations

import errno
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from defang_worker.effects import store
from defang_worker.effects.contract import EffectFailed, PublishedFile, QuarantineEntry

TIME = datetime(2026, 1, 31, 12, 30, 59, tzinfo=UTC)


def entry(directory: Path, **same_as: str) -> QuarantineEntry:
    return QuarantineEntry(
        directory=str(directory), time=TIME, files={"SENDER": b"<a@b>\n", "PART.1.BODY": b""}, same_as=same_as
    )


def all_below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_entry_has_the_originals_path_and_modes(tmp_path: Path) -> None:
    path = Path(store.quarantine(entry(tmp_path)))
    assert path == tmp_path / "2026-01-31-12" / "qdir-2026-01-31-12.30.59-001"
    assert all_below(path) == ["PART.1.BODY", "SENDER"]
    assert (path / "SENDER").read_bytes() == b"<a@b>\n"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o777 == 0o750 & ~umask
    assert (path / "SENDER").stat().st_mode & 0o777 == 0o640 & ~umask


def test_entries_of_one_second_have_different_names(tmp_path: Path) -> None:
    paths: list[str] = []
    threads = [threading.Thread(target=lambda: paths.append(store.quarantine(entry(tmp_path)))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(path[-3:] for path in paths) == [f"{number:03d}" for number in range(1, 13)]
    assert not [name for name in all_below(tmp_path) if store.UNFINISHED_PREFIX in name]


def test_existing_content_is_linked(tmp_path: Path) -> None:
    (tmp_path / "INPUTMSG").write_bytes(b"mail")
    path = Path(store.quarantine(entry(tmp_path, ENTIRE_MESSAGE=str(tmp_path / "INPUTMSG"))))
    assert (path / "ENTIRE_MESSAGE").samefile(tmp_path / "INPUTMSG")


def refuse(number: int) -> object:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


@pytest.mark.parametrize("ranges", [None, errno.EXDEV], ids=["copied by the kernel", "copied by us"])
def test_existing_content_on_another_file_system_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: int | None
) -> None:
    content = os.urandom(300_000)
    (tmp_path / "INPUTMSG").write_bytes(content)
    monkeypatch.setattr(os, "link", refuse(errno.EXDEV))
    if ranges is not None:
        monkeypatch.setattr(os, "copy_file_range", refuse(ranges))
    path = Path(store.quarantine(entry(tmp_path, ENTIRE_MESSAGE=str(tmp_path / "INPUTMSG"))))
    assert (path / "ENTIRE_MESSAGE").read_bytes() == content
    assert not (path / "ENTIRE_MESSAGE").samefile(tmp_path / "INPUTMSG")


@pytest.mark.parametrize("step", ["fsync", "write", "rename"])
def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(os, step, refuse(errno.ENOSPC))
    with pytest.raises(EffectFailed, match=r"not quarantined: .*No space left"):
        store.quarantine(entry(tmp_path))
    monkeypatch.undo()
    assert [name for name in all_below(tmp_path) if "qdir" in name or store.UNFINISHED_PREFIX in name] == []


def test_missing_quarantine_is_named(tmp_path: Path) -> None:
    with pytest.raises(EffectFailed, match=str(tmp_path / "none")):
        store.quarantine(entry(tmp_path / "none"))


def test_forgotten_entry_is_gone(tmp_path: Path) -> None:
    path = store.quarantine(entry(tmp_path))
    store.forget(path)
    assert all_below(tmp_path) == ["2026-01-31-12"]
    with pytest.raises(EffectFailed):
        store.forget(path)


def test_published_file_can_be_read_by_all_and_is_not_written_twice(tmp_path: Path) -> None:
    file = PublishedFile(directory=str(tmp_path), name="a.pdf", content=b"one")
    store.publish(file)
    path = tmp_path / "a.pdf"
    os.utime(path, (1, 1))
    store.publish(PublishedFile(directory=str(tmp_path), name="a.pdf", content=b"other"))
    assert path.read_bytes() == b"one"
    assert path.stat().st_mtime > 1
    assert path.stat().st_mode & 0o777 == 0o644
    assert all_below(tmp_path) == ["a.pdf"]


@pytest.mark.parametrize("name", ["../a", "a/b", "..", ""])
def test_published_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(EffectFailed, match="no file name"):
        store.publish(PublishedFile(directory=str(tmp_path), name=name, content=b""))
    assert all_below(tmp_path) == []


def test_file_that_cannot_be_published_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.ENOSPC))
    with pytest.raises(EffectFailed, match="not published"):
        store.publish(PublishedFile(directory=str(tmp_path), name="a", content=b"x"))
    assert all_below(tmp_path) == []
