# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service says when a program that it asks does not answer; all else is tried with real daemons."""

from __future__ import annotations

from pathlib import Path

import pytest

from defang_service import operations
from defang_service.operations import Failed, Operations
from defang_service.variables import service_of


@pytest.mark.parametrize(("program", "said"), [("#!/bin/sh\nexec sleep 60\n", "timed out"), (None, "No such file")])
def test_a_reload_that_is_not_answered_is_told_as_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, said: str
) -> None:
    monkeypatch.setattr(Operations, "check", lambda _: None)
    monkeypatch.setattr(operations, "_RELOAD_LIMIT_S", 0.1)
    if program is not None:
        (tmp_path / "md-mx-ctrl").write_text(program)
        (tmp_path / "md-mx-ctrl").chmod(0o755)
    service = service_of({"SPOOLDIR": str(tmp_path)})
    with pytest.raises(Failed, match=f"multiplexor's log will tell: .*{said}"):
        Operations(service=service, environment={}, say=lambda _: None, programs=tmp_path).reload()
