# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service says when a program that it asks does not answer; all else is tried with real daemons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from defang_service import operations
from defang_service.operations import Operations, Status
from defang_service.trial import Failed, Trial
from defang_service.variables import service_of


@pytest.mark.parametrize(("program", "said"), [("#!/bin/sh\nexec sleep 60\n", "timed out"), (None, "No such file")])
def test_a_reload_that_is_not_answered_is_told_as_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, said: str
) -> None:
    monkeypatch.setattr(Trial, "filter", lambda _: "")
    monkeypatch.setattr(operations, "_RELOAD_LIMIT_S", 0.1)
    if program is not None:
        (tmp_path / "md-mx-ctrl").write_text(program)
        (tmp_path / "md-mx-ctrl").chmod(0o755)
    monkeypatch.setattr(operations, "_PROBE_LIMIT_S", 0.1)
    service = service_of({"SPOOLDIR": str(tmp_path)})
    with pytest.raises(Failed, match=f"multiplexor's log will tell: .*{said}"):
        Operations(service=service, environment={}, say=lambda _: None, programs=tmp_path).reload()


# Stands for the multiplexor that md-mx-ctrl would ask; what it was asked stands in `asked`.
CTRL = """#!/bin/sh
echo $3 >>{asked}
case $3 in jsonhealth) echo '{health}';; *) echo done;; esac
"""


def operations_at(tmp_path: Path, health: dict[str, object], said: list[str]) -> Operations:
    ctrl = tmp_path / "md-mx-ctrl"
    ctrl.write_text(CTRL.format(asked=tmp_path / "asked", health=json.dumps(health)))
    ctrl.chmod(0o755)
    service = service_of({"SPOOLDIR": str(tmp_path)})
    return Operations(service=service, environment={}, say=said.append, programs=tmp_path)


@pytest.mark.parametrize("tries", [True, False, None])
def test_a_reload_tries_the_filter_only_if_the_multiplexor_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: bool | None
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Trial, "filter", lambda _: said.append("checked"))
    operations_at(tmp_path, {} if tries is None else {"tries_filter": tries}, said).reload()
    assert said == (["done"] if tries else ["checked", "done"])
    assert (tmp_path / "asked").read_text().split() == ["jsonhealth", "reread"]


@pytest.mark.parametrize(
    ("fault", "status"), [(None, Status.RUNNING), ("the filter cannot be loaded: x", Status.UNKNOWN)]
)
def test_a_service_whose_filter_cannot_be_loaded_is_not_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None, status: Status
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Operations, "_state", lambda *_: Status.RUNNING)
    assert operations_at(tmp_path, {"filter_fault": fault}, said).status() is status
    assert said == ([] if fault is None else [f"all mail is put off: {fault}"])
