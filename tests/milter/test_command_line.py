# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and configuration file together, and the settings as such a file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from defang_milter.command_line import parse

EXAMPLE = Path(__file__).parents[2] / "docs" / "configuration.md"
SOCKET = "-p unix:/run/x"
ALL_OPTIONS = f"""{SOCKET} -m /m -U u -z /sp -r -H -s -t -q -R 3 -L 192.0.2.1 -k -d -C -T -x 'text \u00e9' -a one -a two
    -y -N -c -b 9 -G -P /p -o /o -S local3 -D --log-to stderr --log-format json --ip-key-file /k --mux-timeout 1.5
    --mux-start-timeout 2 --progress-interval 3 --stop-grace 4"""


def written(spool: Path, text: str) -> str:
    path = spool / "defang.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def printed(options: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        parse([*shlex.split(options), "--print-config"])
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("options", [SOCKET, f"{SOCKET} -X", f"{SOCKET} -x ''", ALL_OPTIONS])
def test_settings_that_are_printed_are_the_same_when_they_are_read(
    spool: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(spool, printed(options, capsys))
    assert parse(["--config", path]) == parse(shlex.split(options))


def test_every_setting_can_be_said_in_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no option is at its default, none of the file's is a comment."""
    assert not re.search("^# [a-z-]+ =", printed(ALL_OPTIONS, capsys), re.MULTILINE)


def test_the_command_line_counts_more_than_the_file(spool: Path) -> None:
    path = written(
        spool,
        'user = "u"\n[milter]\nsocket = "unix:/a"\nkeep-all = true\nscanned-by = "x"\nmacro = ["one"]\nreserve = 2\n',
    )
    settings = parse(shlex.split(f"-p unix:/b --no-keep-all -X -a two -R 5 --config {path}"))
    assert (settings.socket, settings.keep_all, settings.scanned_by, settings.reserve) == ("unix:/b", False, None, 5)
    assert settings.macros == ("one", "two")
    assert settings.user == "u"
    assert parse(["--config", path, "-x", "y"]).scanned_by == "y"
    assert parse(["--config", path]).scanned_by == "x"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max-worker = 3", "line 2: no key max-worker in [milter]"),
        ("sender-chek = true", "line 2: no key sender-chek in [milter]: is sender-check meant?"),
        ("no-scanned-by = true", "line 2: no key no-scanned-by in [milter]: is scanned-by meant?"),
        ("socket = 'nowhere:x'", "line 2: socket: "),
        ("stop-grace = 0", "line 2: stop-grace: out of range: 0"),
        ("stop-grace = nan", "line 2: stop-grace: out of range: nan"),
        ("macro = ['a', '']", "line 2: macro: an empty name"),
        ("facility = 'post'", "line 2: facility: unknown syslog facility: post"),
        ("log-to = 'file'", "line 2: log-to: one of auto, syslog, journal, stderr, not 'file'"),
        ('scanned-by = "a\\u0007b"', "line 2: scanned-by: control characters"),
        ("backlog = 4", "-b: at least 5"),
        ("pid-file = 'p'", "line 2: pid-file: an absolute path is wanted"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_line(
    spool: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(spool, f"[milter]\n{text}\n")
    with pytest.raises(SystemExit) as end:
        parse(shlex.split(f"{SOCKET} --config {path}"))
    assert end.value.code == 1
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_the_example_in_the_documents_says_the_defaults(spool: Path) -> None:
    match = re.search("```toml\n(.*?)```", EXAMPLE.read_text(), re.DOTALL)
    assert match
    assert parse(["--config", written(spool, match[1])]) == parse(
        shlex.split("-U defang -p unix:/var/spool/MIMEDefang/mimedefang.sock")
    )
