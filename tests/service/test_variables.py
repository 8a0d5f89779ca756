# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of the defaults file become options that the daemons take."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_milter import command_line as milter_command_line
from defang_milter import settings as milter_settings
from defang_mux import command_line as mux_command_line
from defang_mux import settings as mux_settings
from defang_service import variables
from defang_service.variables import VARIABLES, Kind, Nonsense, service_of
from defang_worker.command_line import DEFAULT_FILTER


def _mux(environment: dict[str, str]) -> mux_settings.Settings:
    parsed = mux_command_line.parse(list(service_of(environment).mux.options))
    assert not isinstance(parsed, str)
    assert parsed.notes == []
    return parsed.settings


def _milter(environment: dict[str, str]) -> milter_settings.Settings:
    return milter_command_line.parse(service_of(environment).milter.options)


def test_without_variables_both_daemons_meet_in_the_spool() -> None:
    mux, milter = _mux({}), _milter({})
    assert mux.socket == milter.mux_socket == Path("/var/spool/MIMEDefang/mimedefang-multiplexor.sock")
    assert milter.socket == "/var/spool/MIMEDefang/mimedefang.sock"
    assert mux.user == milter.user == "defang"
    assert mux.rules == Path(DEFAULT_FILTER)
    assert not mux.foreground
    assert not milter.foreground


def test_the_pid_and_lock_files_are_those_that_the_daemons_write() -> None:
    service = service_of({"SPOOLDIR": "/srv/md"})
    assert _mux({"SPOOLDIR": "/srv/md"}).pid_file == service.mux.pid_file == Path("/srv/md/defang-mux.pid")
    assert _milter({"SPOOLDIR": "/srv/md"}).pid_file == service.milter.pid_file
    assert service.milter.lock_file == Path("/srv/md/defang-milter.pid.lock")


def test_numbers_and_switches_reach_their_daemon() -> None:
    mux = _mux({"MX_MINIMUM": "3", "MX_MAXIMUM": "7", "MX_BUSY": "600", "MX_LOG": "yes", "MX_STATUS_UPDATES": "no"})
    assert (mux.min_workers, mux.max_workers, mux.busy_timeout_s, mux.verbose) == (3, 7, 600, True)
    assert not mux.status_tags
    milter = _milter({"MX_SENDER_CHECK": "yes", "LOOPBACK_RESERVED_CONNECTIONS": "-1", "X_SCANNED_BY": "a b"})
    assert (milter.sender_check, milter.recipient_check, milter.reserve) == (True, False, -1)
    assert milter.scanned_by == "a b"
    assert _milter({"X_SCANNED_BY": "-"}).scanned_by is None


def test_the_spool_is_put_in_where_no_shell_has_done_it() -> None:
    mux = _mux({"SPOOLDIR": "/srv/md", "MX_SOCKET": "$SPOOLDIR/mx.sock", "MX_MAP_SOCKET": "${SPOOLDIR}/map.sock"})
    assert (mux.socket, mux.map_socket) == (Path("/srv/md/mx.sock"), "/srv/md/map.sock")


def test_further_options_come_last_and_are_split_as_a_shell_does() -> None:
    assert _milter({"MD_EXTRA": "-a 'auth_authen' -x 'c d'", "X_SCANNED_BY": "a"}).scanned_by == "c d"
    assert _mux({"MX_EXTRA": "-c 25"}).command_timeout_s == 25


def test_another_worker_program_gets_no_filter_of_ours() -> None:
    service = service_of({"FILTER": "/usr/bin/mimedefang.pl"})
    assert service.rules is None
    assert not any(option.startswith("-F") for option in service.mux.options)
    assert "-f/usr/bin/mimedefang.pl" in service.mux.options


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"MX_MAXIMUN": "3"}, "MX_MAXIMUM"),
        ({"MD_EXTRAS": "-k"}, "MD_EXTRA"),
        ({"MX_LOG": "1"}, "yes or no"),
        ({"MX_EXTRA": "-c '20"}, "MX_EXTRA"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(environment: dict[str, str], named: str) -> None:
    with pytest.raises(Nonsense, match=named):
        service_of(environment)


def test_embedded_perl_asks_for_workers_that_are_forked() -> None:
    assert "-E" in service_of({"MX_EMBED_PERL": "yes"}).mux.options
    assert "-E" not in service_of({"MX_EMBED_PERL": "no"}).mux.options
    _mux({"MX_EMBED_PERL": "yes"})


@given(st.sampled_from([each for each in VARIABLES if each.kind is Kind.VALUE]), st.text(min_size=1, max_size=9))
def test_a_value_is_never_taken_for_an_option(variable: variables.Variable, value: str) -> None:
    service = service_of({variable.name: value, "SPOOLDIR": "/srv"})
    for letter, daemon in ((variable.mux, service.mux), (variable.milter, service.milter)):
        if letter and variable.name != "SPOOLDIR":
            assert any(word.startswith(f"-{letter}") and len(word) > 2 for word in daemon.options)


def test_every_variable_of_debians_package_is_known() -> None:
    named = [
        "SOCKET",
        "MX_USER",
        "SYSLOG_FACILITY",
        "KEEP_FAILED_DIRECTORIES",
        "MX_RELAY_CHECK",
        "MX_HELO_CHECK",
        "MX_SENDER_CHECK",
        "MX_RECIPIENT_CHECK",
        "MX_LOG",
        "MD_ALLOW_GROUP_ACCESS",
        "MX_EMBED_PERL",
        "MX_MAP_SOCKET",
        "MX_WORKER_DELAY",
        "MX_MIN_WORKER_DELAY",
        "MX_STATS",
        "LOOPBACK_RESERVED_CONNECTIONS",
        "ALLOW_NEW_CONNECTIONS_TO_QUEUE",
        "MX_FLUSH_STATS",
        "MX_STATS_SYSLOG",
        "MX_SOCKET",
        "MX_REQUESTS",
        "MX_MINIMUM",
        "MX_MAXIMUM",
        "MX_LOG_WORKER_STATUS_INTERVAL",
        "MX_STATUS_UPDATES",
        "MX_MAX_RSS",
        "MX_MAX_AS",
        "MX_NOTIFIER",
        "MX_IDLE",
        "MX_BUSY",
        "MX_RECIPOK_PERDOMAIN_LIMIT",
        "MD_EXTRA",
        "MX_QUEUE_SIZE",
        "MX_QUEUE_TIMEOUT",
        "MD_SKIP_BAD_RCPTS",
        "SUBFILTER",
        "X_SCANNED_BY",
        "SPOOLDIR",
        "FILTER",
        "MX_MAX_LIFETIME",
        "MX_LOG_SLAVE_STATUS_INTERVAL",
        "MX_SLAVE_DELAY",
        "MX_MIN_SLAVE_DELAY",
        "USE_SETSYMLIST",
    ]
    assert not set(named) - {variable.name for variable in VARIABLES}
