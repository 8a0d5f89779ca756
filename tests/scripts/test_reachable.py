# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/reachable.py judges permission bits, so that it says the same to root and to everybody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import reachable


@pytest.fixture
def private(spool: Path) -> Path:
    """An open file in an open directory in a private one."""
    inside = spool / "inside"
    inside.mkdir()
    inside.chmod(0o755)
    program = inside / "program"
    program.write_text("")
    program.chmod(0o755)
    return program


def test_the_directory_that_keeps_others_out_is_named(private: Path, spool: Path) -> None:
    assert reachable.obstacle(str(private)) == str(spool)


def test_an_open_path_has_no_obstacle(private: Path, spool: Path) -> None:
    spool.chmod(0o711)
    assert reachable.obstacle(str(private)) is None


def test_a_private_file_is_its_own_obstacle(private: Path, spool: Path) -> None:
    spool.chmod(0o711)
    private.chmod(0o750)
    assert reachable.obstacle(str(private)) == str(private)


def test_a_link_is_as_private_as_what_it_leads_to(private: Path, spool: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(private)
    assert reachable.obstacle(str(link)) == str(spool)


def test_the_reason_is_printed_and_the_exit_status_tells(private: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reachable.main(["/usr/bin", str(private)]) == 1
    assert f"other users cannot read {private}, because of the mode of" in capsys.readouterr().out
    assert reachable.main(["/usr/bin"]) == 0
