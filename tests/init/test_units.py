# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units call the programs as these want to be called, and wait for the pid file that they write."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest

from defang_milter import settings as milter_settings
from defang_mux import settings as mux_settings
from defang_worker.command_line import DEFAULT_FILTER

UNITS = Path(__file__).parents[2] / "init" / "systemd"


def _service(name: str) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # as its documentation has it
    unit.read_string((UNITS / name).read_text().replace("\\\n", ""))
    return unit["Service"]


def _command(service: configparser.SectionProxy) -> list[str]:
    """The arguments of the start command; `$WORD` is the site's variable, empty until the site fills it."""
    name, _, value = service["Environment"].partition("=")
    words = shlex.split(service["ExecStart"].replace(f"${{{name}}}", value))
    return [word for word in words[1:] if not word.startswith("$")]


def test_the_multiplexor_starts_as_its_unit_says() -> None:
    service = _service("defang-mux.service")
    parsed = mux_settings.parse(_command(service))
    assert not isinstance(parsed, str)
    settings, notes = parsed
    assert notes == []
    assert settings.user == "defang"
    assert settings.pid_file == Path(service["PIDFile"])
    assert not settings.foreground
    assert settings.rules == Path(DEFAULT_FILTER)


def test_a_reload_tries_the_filter_as_the_daemons_user_and_then_signals_wherever_the_socket_is() -> None:
    text = (UNITS / "defang-mux.service").read_text()
    reload = [line.partition("=")[2] for line in text.splitlines() if line.startswith("ExecReload=")]
    worker = str(Path(shlex.split(_service("defang-mux.service")["ExecStart"])[0]).with_name("defang-worker"))
    assert reload == [
        f"/usr/sbin/runuser -u defang -- {worker} -f ${{FILTER}} test",
        "/bin/kill -HUP $MAINPID",
    ]


def test_the_milter_starts_as_its_unit_says() -> None:
    service = _service("defang-milter.service")
    settings = milter_settings.parse(_command(service))
    assert settings.user == "defang"
    assert settings.pid_file == Path(service["PIDFile"])
    assert not settings.foreground
    assert settings.stop_grace_s < int(service["TimeoutStopSec"])


@pytest.mark.parametrize("name", ["defang-mux.service", "defang-milter.service"])
def test_a_unit_waits_for_readiness_and_lets_the_daemon_end_its_own_children(name: str) -> None:
    service = _service(name)
    assert (service["Type"], service["KillMode"]) == ("forking", "mixed")


def test_both_daemons_meet_at_the_same_socket() -> None:
    parsed = mux_settings.parse(_command(_service("defang-mux.service")))
    assert not isinstance(parsed, str)
    milter = milter_settings.parse(_command(_service("defang-milter.service")))
    assert parsed[0].socket == milter.mux_socket
