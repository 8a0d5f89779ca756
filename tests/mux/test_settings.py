# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: letters, long names, ranges, and what follows from what."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from defang_mux.command_line import UsageError, parse
from defang_mux.settings import OPTIONS, Settings, usage


def settings_of(*argv: str) -> Settings:
    parsed = parse(list(argv))
    assert isinstance(parsed, tuple)
    return parsed[0]


def notes_of(*argv: str) -> list[str]:
    parsed = parse(list(argv))
    assert isinstance(parsed, tuple)
    return parsed[1]


def test_every_option_sets_a_field_and_stands_in_the_usage_text() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    for option in OPTIONS:
        assert option.field in fields or option.name in ("help", "version", "config", "print-config", "embed")
        assert f"--{option.name}" in usage()
    assert len({option.letter for option in OPTIONS if option.letter}) == sum(bool(option.letter) for option in OPTIONS)


def test_short_and_long_names_mean_the_same() -> None:
    short = settings_of(*shlex.split("-U u -z /sp -f /w -F f -m 2 -x 8 -r 9 -i 11 -b 12 -c 13 -w 4 -W 5 -q 6 -Q 7"))
    long = settings_of(
        *shlex.split("--user=u --spool=/sp --worker=/w --rules=f --min-workers=2 --max-workers=8 --max-requests=9"),
        *shlex.split("--idle-timeout=11 --busy-timeout=12 --command-timeout=13 --start-interval=4"),
        *shlex.split("--activation-interval=5 --queue-size=6 --queue-timeout=7"),
    )
    assert short == long
    assert short.socket == Path("/sp/mimedefang-multiplexor.sock")
    assert short.rules == Path.cwd() / "f"


def test_defaults_are_the_documented_ones() -> None:
    settings = settings_of()
    assert settings.socket == Path("/var/spool/MIMEDefang/mimedefang-multiplexor.sock")
    assert (settings.min_workers, settings.max_workers, settings.max_requests) == (1, 2, 500)
    assert (settings.idle_timeout_s, settings.busy_timeout_s, settings.command_timeout_s) == (300, 120, 10)
    assert settings.worker.name == "defang-worker"
    assert settings.worker.is_absolute()


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        ("-m 0", "min_workers", 1),
        ("-x 0", "max_workers", 1),
        ("-r 0", "max_requests", 1),
        ("-i 9", "idle_timeout_s", 10),
        ("-b 1", "busy_timeout_s", 10),
        ("-c 1", "command_timeout_s", 10),
        ("-w 0", "start_interval_s", 1),
        ("-W -1", "activation_interval_s", 0),
        ("-Q 0", "queue_timeout_s", 1),
        ("-Q 601", "queue_timeout_s", 600),
        ("-I 1", "backlog", 5),
        ("-I 500", "backlog", 200),
        ("-m 5 -x 3", "min_workers", 3),
        ("-V -1", "max_age_s", 0),
        ("-L 1", "status_interval_s", 5),
        ("-y 3 -x 3", "domain_recipients", 0),
    ],
)
def test_number_out_of_range_is_moved_into_it_with_a_line(argv: str, field: str, value: int) -> None:
    assert getattr(settings_of(*argv.split()), field) == value
    assert any(str(value) in note for note in notes_of(*argv.split()))


@pytest.mark.parametrize(("most", "backlog"), [(2, 5), (40, 10), (2000, 200)])
def test_backlog_follows_the_workers(most: int, backlog: int) -> None:
    assert settings_of("-x", str(most)).backlog == backlog


def test_last_of_a_repeated_option_counts() -> None:
    assert settings_of("-m", "2", "-x", "9", "-x", "4").max_workers == 4


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ("-m many", "min-workers"),
        ("-q 1025", "queue-size"),
        ("-f relative/worker", "worker"),
        ("-j", "-j not recognized"),
        ("--no-such", "no-such"),
        ("-m", "-m"),
        ("stray", "stray"),
        ("--log-to=file", "log-to"),
    ],
)
def test_nonsense_is_refused_by_name(argv: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse(argv.split())


def test_an_embedded_interpreter_means_workers_that_are_forked_where_they_can_be() -> None:
    assert settings_of("-E") == settings_of()
    assert settings_of("--start=exec", "-E").start == "auto"
    assert settings_of("-E", "--start=exec").start == "exec"


def test_every_letter_of_the_original_is_an_option_and_takes_a_value_where_it_does() -> None:
    """Its getopt string, as of version 3.7.1."""
    ours = {option.letter: option.placeholder for option in OPTIONS}
    original = "GAa:Tt:um:x:y:r:i:b:c:s:hdlf:p:o:w:F:W:U:S:q:Q:L:R:M:I:DEO:X:Y:N:vZP:z:V:k"
    for letter, colon in re.findall("([A-Za-z])(:?)", original):
        assert bool(ours[letter]) == bool(colon), letter


def test_socket_takes_the_prefixes_for_unix_sockets() -> None:
    assert settings_of("-s", "unix:/a/b").socket == Path("/a/b")
    assert settings_of("-s", "local:/a/b").socket == Path("/a/b")


def test_help_and_version_are_told_apart() -> None:
    assert parse(["-h", "-m", "x"]) == "help"
    assert parse(["--version"]) == "version"


def test_empty_value_is_refused() -> None:
    with pytest.raises(UsageError, match="user"):
        parse(["-U", ""])
