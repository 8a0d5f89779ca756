# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of init/ call the service as it wants to be called, and say what the programs need."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from defang_service.__main__ import WORDS
from defang_service.variables import VARIABLES, service_of
from tests.support import start_scripts

INIT = Path(__file__).parents[2] / "init"
UNITS = ("defang-mux.service", "defang-milter.service")
SCRIPTS = [INIT / name for name in ("sysv/defang", "slackware/rc.defang", "openrc/defang", "freebsd/defang")]
SHELLS = [path for name in ("sh", "dash", "bash") if (path := shutil.which(name))]
# What `defang-service stop` may take for one daemon.
STOP_LIMIT_S = 55


def _unit(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # as its documentation has it
    unit.read_string((INIT / "systemd" / name).read_text())
    return unit


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_calls_words_that_exist(name: str) -> None:
    service = _unit(name)["Service"]
    commands = [value for key, value in service.items() if key.startswith("Exec")]
    assert commands
    for command in commands:
        program, word = shlex.split(command)
        assert program == "/usr/local/bin/defang-service"
        assert word in WORDS


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_waits_for_readiness_and_lets_the_daemon_end_its_own_children(name: str) -> None:
    service = _unit(name)["Service"]
    assert (service["Type"], service["KillMode"]) == ("notify", "mixed")
    assert int(service["TimeoutStopSec"]) > STOP_LIMIT_S
    assert (service["NotifyAccess"], int(service["WatchdogSec"]) > 0) == ("main", True)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_started_again_as_often_as_it_takes(name: str) -> None:
    unit = _unit(name)
    assert unit["Service"]["Restart"] == "on-failure"
    # systemd gives up what starts so often in so long (systemd.unit(5), StartLimitIntervalSec=).
    assert int(unit["Service"]["RestartSec"]) * 5 > 10
    assert not {"StartLimitBurst", "StartLimitIntervalSec"} & set(unit["Unit"])


def test_the_filter_is_there_before_the_mail_server() -> None:
    milter = _unit("defang-milter.service")["Unit"]
    assert "defang-mux.service" in milter["After"].split()
    assert {"sendmail.service", "postfix.service"} <= set(milter["Before"].split())


def test_the_multiplexor_may_start_set_group_id_programs_and_the_milter_starts_none() -> None:
    mux, milter = (_unit(name)["Service"] for name in UNITS)
    assert not {"User", "NoNewPrivileges", "RestrictSUIDSGID"} & set(mux)
    assert (milter["User"], milter["NoNewPrivileges"]) == (service_of({}).user, "yes")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_a_script_is_read_by_every_shell(shell: str, script: Path) -> None:
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_a_script_can_be_executed(script: Path) -> None:
    assert script.stat().st_mode & 0o111 == 0o111


def test_the_defaults_file_has_variables_that_exist_and_makes_sense_to_systemd_and_shells() -> None:
    text = (INIT / "share/defaults").read_text()
    set_there = re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", text, re.MULTILINE)
    names = {variable.name for variable in VARIABLES}
    assert {name for name, _ in set_there} <= names
    active = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    shell = "set -a; . ./defaults; env"
    done = subprocess.run(
        ["sh", "-c", shell],
        cwd=INIT / "share",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    from_shell = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert {name: from_shell[name] for name in active} == active
    # As a site would, with every line that is prepared switched on.
    service_of({name: value.strip('"') for name, value in set_there})


@pytest.mark.parametrize("kind", start_scripts.KINDS)
@pytest.mark.parametrize("before", ["", "SPOOLDIR=/srv/md"])
def test_a_value_may_begin_with_the_spool_whether_the_file_names_one_or_not(
    tmp_path: Path, kind: str, before: str
) -> None:
    defaults, service = tmp_path / "defaults-of-the-site", tmp_path / "service"
    defaults.write_text(f"{before}\nSOCKET=$SPOOLDIR/mimedefang.sock\n")
    service.write_text(f"#!/bin/sh\nenv >{tmp_path}/environment\n")
    service.chmod(0o755)
    script = start_scripts.copy(kind, tmp_path, defaults=defaults, service=service)
    subprocess.run(
        start_scripts.argv("sh", script, kind, "start"), env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True
    )
    given = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    assert given["SOCKET"] == service_of({"SPOOLDIR": before.partition("=")[2]}).milter.socket


def test_the_line_for_sendmail_is_the_same_everywhere() -> None:
    root = INIT.parent
    texts = [(root / name).read_text() for name in ("init/share/sendmail.mc", "docs/install.md", "docs/slackware.md")]
    lines = {line.strip() for text in texts for line in text.splitlines() if "INPUT_MAIL_FILTER(`" in line}
    assert len(lines) == 1
    assert f"S=unix:{service_of({}).milter.socket}," in lines.pop()


def test_the_lines_for_postfix_are_those_of_the_page() -> None:
    lines = [line for line in (INIT / "share/postfix-main.cf").read_text().splitlines() if not line.startswith("#")]
    page = {line.strip() for line in (INIT.parent / "docs/install.md").read_text().splitlines()}
    assert len(lines) > 3
    assert set(lines) <= page


def test_the_directories_are_told_as_the_installer_makes_them() -> None:
    from scripts.install import PRIVATE_DIRECTORIES, USER

    rows = [line.split() for line in (INIT / "share/tmpfiles.conf").read_text().splitlines() if line.startswith("d ")]
    assert rows == [["d", str(path), "0750", USER, USER, "-"] for path in PRIVATE_DIRECTORIES]
    user = (INIT / "share/sysusers.conf").read_text().splitlines()[-1].split()
    assert user[:2] == ["u", USER]
