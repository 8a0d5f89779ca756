# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/viruses.py, with a clamd that is played."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from defang_common.wire import commands
from defang_worker import Message
from defang_worker.api import filter_file
from defang_worker.checks import Clamd
from tests.support.fake_scanners import NESTED, PLAIN, FakeClamd
from tests.support.scripted_service import ScriptedService

PATH = Path(__file__).parents[2] / "docs" / "filters" / "viruses.py"


def filtered(raw: bytes, check: Clamd) -> Message:
    site = filter_file.load(str(PATH))
    message = Message(commands.decode(b"S<a@b>\nF\n"), raw, "/nowhere", replace(site.settings, checks=(check,)))
    site.ask("filter_begin", message)
    return message


@pytest.fixture
def service(spool: Path) -> Clamd:
    return Clamd(str(spool / "clamd.sock"))


def test_virus_is_refused_and_kept(spool: Path, service: Clamd) -> None:
    with ScriptedService(FakeClamd(), spool / "clamd.sock"):
        message = filtered(NESTED, service)
        clean = filtered(PLAIN, service)
    assert message.verdict is not None
    assert (message.verdict.code, message.verdict.reply) == (554, "Virus found: Test.Virus")
    assert message.quarantine_reasons == ("virus Test.Virus",)
    assert (clean.verdict, clean.quarantine_reasons) == (None, ())


def test_mail_is_deferred_while_clamd_is_gone(service: Clamd) -> None:
    message = filtered(PLAIN, service)
    assert message.verdict is not None
    assert message.verdict.code == 451


def test_mail_that_is_too_large_passes_with_a_mark(service: Clamd) -> None:
    message = filtered(PLAIN + b"x" * (25 * 1024 * 1024), service)
    assert message.verdict is None
    assert message.headers.get("X-Virus-Scanned") == "no, too large"
