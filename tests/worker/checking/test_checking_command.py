# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker check` as a person or a CI job starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from defang_worker import Settings
from defang_worker.api.stages import VERBS
from defang_worker.checking import places
from defang_worker.checking.places import check_settings

WAIT_S = 100
GOOD = "print('loading')\ndef filter_begin(message):\n    message.reject('No')\n"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "defang_worker", "check", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


@pytest.fixture
def site(spool: Path) -> Path:
    return spool / "site.py"


def test_good_filter_is_said_to_be_good(site: Path) -> None:
    site.write_text(GOOD)
    done = run("--filter", site)
    assert (done.returncode, done.stderr) == (0, "loading\n")
    assert done.stdout == f"{site}: nothing is wrong; callbacks: filter_begin\n"
    told = json.loads(run("--filter", site, "--json").stdout)
    assert told == {"filter": str(site), "ok": True, "callbacks": ["filter_begin"], "findings": []}


def test_each_finding_has_its_place(site: Path) -> None:
    site.write_text(GOOD + "def filter_wrapup(message):\n    message.warn('x')\n    message.subjekt\n")
    done = run("-f", site)
    assert done.returncode == 1
    first, second, last = done.stdout.splitlines()
    assert first.startswith(f"{site}:5: stage: Message.warn has no effect in filter_wrapup")
    assert second == f"{site}:6: name: Message has no member subjekt; subject perhaps?"
    assert last == f"{site}: 2 things are wrong"
    told = json.loads(run("-f", site, "--json").stdout)
    assert told["ok"] is False
    assert [(one["file"], one["line"], one["check"]) for one in told["findings"]] == [
        (str(site), 5, "stage"),
        (str(site), 6, "name"),
    ]


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("def filter_prat(message, part): pass\n", 1, "no callback is named filter_prat; filter_part perhaps?"),
        ("\ndef filter_begin(): pass\n", 2, "filter_begin is to be defined with (message)"),
        ("def filter_begin(m):\n    return (\n", 2, "SyntaxError: '(' was never closed"),
        ("import no_such_module\n", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("", 0, "no callback in it"),
    ],
)
def test_filter_that_cannot_be_loaded_is_a_finding(site: Path, source: str, line: int, text: str) -> None:
    site.write_text(source)
    done = run("-f", site, "--json")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["check"], finding["line"], finding["file"]) == ("load", line, str(site))
    assert finding["text"].startswith(text)


def test_missing_filter_is_a_finding(site: Path) -> None:
    done = run("-f", site)
    assert done.returncode == 1
    assert "No such file" in done.stdout


def test_no_filter_is_nothing_wrong() -> None:
    assert run("-f", "/dev/null").returncode == 0


def test_places_in_settings_are_looked_at_unless_that_is_unwanted(site: Path) -> None:
    setting = "from defang_worker import Settings\nsettings = Settings(quarantine_dir='/nowhere/at/all')\n"
    site.write_text(setting + GOOD)
    done = run("-f", site)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        1,
        f"{site}: setting: quarantine_dir: /nowhere/at/all is no directory",
    )
    assert run("-f", site, "--no-paths").returncode == 0


def test_mypy_is_run_when_asked_for(site: Path) -> None:
    site.write_text(
        "from defang_worker import Message\n\n\ndef filter_begin(message: Message) -> None:\n    message.reject(17)\n"
    )
    assert run("-f", site).returncode == 0
    done = run("-f", site, "--mypy")
    assert done.returncode == 1, done.stderr
    assert f'{site}:5: type: Argument 1 to "reject"' in done.stdout


def test_unknown_word_is_a_usage_error(site: Path) -> None:
    assert run("-f", site, "--jsn").returncode == 2


def _told(verbs: set[str], **settings: str | bool) -> list[str]:
    return [finding.text for finding in check_settings("site.py", Settings(**settings), verbs)]  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", ["Message.send", "Message.resend", "Message.notify_admin", "Message.stream"])
def test_verbs_that_send_mail_need_the_program_for_it(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setattr(places, "_DEFAULTS", Settings(submit_to="/nowhere"))
    assert _told(set(), submit_to="/nowhere") == []
    assert _told({verb}, submit_to="/nowhere") == ["submit_to: /nowhere is no program that can be run"]


def test_only_places_that_the_filter_uses_are_looked_at(spool: Path) -> None:
    assert _told(set()) == []
    assert _told(set(), quarantine_dir=str(spool)) == []
    assert _told(set(), submit_to="/nowhere") == ["submit_to: /nowhere is no program that can be run"]
    assert _told(set(), submit_to="localhost:25") == []
    assert _told(set(), relay_key_file="/nowhere") == ["relay_key_file: /nowhere cannot be read"]
    file = spool / "file"
    file.write_text("")
    assert _told(set(), quarantine_dir=str(file)) == [f"quarantine_dir: {file} is no directory"]
    assert _told(set(), event_log=str(spool / "events"), record_log="syslog:mail") == []
    assert _told(set(), event_log=str(file)) == []
    assert _told(set(), record_log="/nowhere/records") == ["record_log: /nowhere/records cannot be written"]


@pytest.mark.parametrize("verb", ["Part.quarantine", "Message.quarantine"])
def test_quarantine_has_to_be_there_for_a_filter_that_uses_it(verb: str) -> None:
    assert verb in VERBS
    default = Settings().quarantine_dir
    assert (_told({verb}) == []) == Path(default).is_dir()


def test_mail_server_has_no_need_of_our_quarantine() -> None:
    assert _told({"Message.mta_quarantine"}) == []
