# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker features`: which checks a filter has, and what is told of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from defang_worker import checks
from defang_worker.checks import Rspamd, Spamd
from defang_worker.features import command
from defang_worker.features import gather as gathering
from defang_worker.features.gather import checks_of, gather
from tests.support.fake_scanners import FakeClamd
from tests.support.fake_spam_services import FakeRspamd, FakeSpamd
from tests.support.scripted_service import ScriptedService
from tests.worker.conftest import LoadFilter

CLASS = """
    from defang_worker.checks import Clamd

    class Site(Filter):
        settings = Settings(checks=(Clamd({0!r}, name="declared"),))
        clamd = Clamd({0!r}, name="attribute")

        def __init__(self):
            self.own = Clamd("/run/nobody.sock", name="own")

        def filter_begin(self, message):
            message.run_checks(self.clamd)
"""
PLAIN = """
    from defang_worker.checks import Clamd
    settings = Settings(checks=(Clamd({0!r}, name="declared"),))
    clamd = Clamd({0!r}, name="attribute")

    def filter_begin(message):
        message.run_checks(clamd)
"""


def test_checks_of_class_and_object_are_found(load_filter: LoadFilter) -> None:
    assert [check.name for check in checks_of(load_filter(CLASS.format("/run/x")))] == ["declared", "attribute", "own"]


def test_checks_of_a_plain_file_are_found(load_filter: LoadFilter) -> None:
    assert [check.name for check in checks_of(load_filter(PLAIN.format("/run/x")))] == ["declared", "attribute"]


def test_services_are_shown_with_version_or_what_is_wrong(
    load_filter: LoadFilter, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedService(FakeClamd(), spool / "clamd.sock") as service:
        site = load_filter(CLASS.format(service.address))
        assert command.run(site, as_json=False) == 1
        text = capsys.readouterr().out
        assert command.run(site, as_json=True) == 1
        told = json.loads(capsys.readouterr().out)
        assert command.run(load_filter(PLAIN.format(service.address)), as_json=False) == 0
    lines = [line.split() for line in text.splitlines()]
    assert ["declared", "Clamd", service.address, "ClamAV", "1.4.6/27800/Mon", "Nov", "23", "2026"] in lines
    assert any(line[:5] == ["own", "Clamd", "/run/nobody.sock", "NOT", "REACHABLE:"] for line in lines)
    assert [(one["name"], one["is_reachable"]) for one in told["checks"]] == [
        ("declared", True),
        ("attribute", True),
        ("own", False),
    ]
    assert told["filter"] == site.path


def test_scanner_of_this_host_without_its_package_is_left_out() -> None:
    program = (
        "import sys; sys.modules['clamd'] = None; from defang_worker.features import gather; "
        "gather._CLAMD_SOCKET = '/'; print([check.name for check in gather._usual_scanners()])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "'clamd'" not in done.stdout
    shown = subprocess.run(
        [sys.executable, "-c", program.replace("sys.modules['clamd'] = None; ", "")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'clamd'" in shown.stdout


def test_spam_checkers_of_this_host_are_shown_if_they_answer(
    load_filter: LoadFilter, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = load_filter(PLAIN.format("/run/x"))
    with (
        ScriptedService(FakeSpamd(), spool / "spamd.sock") as spamd,
        ScriptedService(FakeRspamd(b"pong\r\n"), spool / "rspamd.sock") as rspamd,
    ):
        monkeypatch.setattr(checks, "Spamd", lambda: Spamd(spamd.address))
        monkeypatch.setattr(gathering, "Rspamd", lambda: Rspamd(rspamd.address))
        told = {(one.kind, one.address, one.version) for one in gather(site).others}
        assert {("Spamd", spamd.address, "SPAMD/1.5"), ("Rspamd", rspamd.address, "rspamd/3.4")} <= told
    assert not {"Spamd", "Rspamd"} & {one.kind for one in gather(site).others}


def test_packages_are_told_and_those_of_developers_are_not(load_filter: LoadFilter) -> None:
    packages = {one.name: one for one in gather(load_filter(PLAIN.format("/run/x"))).packages}
    assert packages["msgpack"].version
    assert packages["msgpack"].extra == ""
    assert packages["aiospamc"].extra == "spamassassin"
    assert "pytest" not in packages


def test_original_word_is_understood_and_no_filter_is_needed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "defang_worker", "-f", os.devnull, "-features"]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0
    assert "Checks of the filter:\n  none\n" in shown.stdout
