# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units call the programs as these want to be called, and wait for the pid file that they write."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest

from defang_milter import settings as milter_settings
from defang_mux import settings as mux_settings

UNITS = Path(__file__).parents[2] / "init" / "systemd"


def _service(name: str) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # as its documentation has it
    unit.read_string((UNITS / name).read_text().replace("\\\n", ""))
    return unit["Service"]


def _command(service: configparser.SectionProxy) -> list[str]:
    """The arguments of the start command; the site's variable is empty until the site fills it."""
    return [word for word in shlex.split(service["ExecStart"])[1:] if not word.startswith("$")]


def test_the_multiplexor_starts_as_its_unit_says() -> None:
    service = _service("defang-mux.service")
    parsed = mux_settings.parse(_command(service))
    assert not isinstance(parsed, str)
    settings, notes = parsed
    assert notes == []
    assert settings.user == "defang"
    assert settings.pid_file == Path(service["PIDFile"])
    assert not settings.foreground


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
