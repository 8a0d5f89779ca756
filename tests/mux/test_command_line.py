# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and configuration file together, and the settings as such a file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from defang_mux.command_line import Parsed, UsageError, as_config, parse, unread

EXAMPLE = Path(__file__).parents[2] / "docs" / "configuration.md"


def parsed(*words: str | Path) -> Parsed:
    found = parse([str(word) for word in words])
    assert isinstance(found, Parsed)
    return found


def written(spool: Path, text: str) -> Path:
    path = spool / "defang.toml"
    path.write_text(text, encoding="utf-8")
    return path


ALL_OPTIONS = """-U u -z /sp -s /sp/x.sock -a inet:10026 -N /sp/map -O inet6:1 -f /w -F /f -m 2 -x 40 -r 9 -V 7 -k
    -M 100 -R 200 -i 11 -b 12 -c 13 -w 4 -W 5 -q 6 -Q 7 -y 3 -X 8 -P 2 -I 33 -Z -l -A -d -L 60 -t /st -T -u -G -D
    -p /p.pid -o /l.lock -S local3 -Y lab\u00e9l --log-to journal --log-format json
    --metrics inet:9199 --poison reject --poison-dir /poison
--cpu-limit 9 --landlock --writable-dirs /a:/b --deny-system-calls --no-new-privileges"""


@pytest.mark.parametrize("options", ["", "-x 100", ALL_OPTIONS, "-Y '\"quotes\"\\ and a\ttab'"])
def test_settings_that_are_printed_are_the_same_when_they_are_read(spool: Path, options: str) -> None:
    settings = parsed(*shlex.split(options)).settings
    again = parsed("--config", written(spool, as_config(settings)))
    assert again.settings == settings
    assert again.notes == []


def test_every_setting_can_be_said_in_the_file() -> None:
    """Where no option is at its default, none of the file's is a comment."""
    assert not re.search("^# [a-z-]+ =", as_config(parsed(*shlex.split(ALL_OPTIONS)).settings), re.MULTILINE)


def test_the_command_line_counts_more_than_the_file_wherever_it_names_it(spool: Path) -> None:
    path = written(spool, "group-access = true\n[mux]\nmax-workers = 7\nverbose = true\nautoscale = true\n")
    file, options = ["--config", str(path)], ["-x", "9", "--no-verbose"]
    for words in (file + options, options + file):
        settings = parsed(*words).settings
        assert (settings.max_workers, settings.verbose, settings.group_access) == (9, False, True)
        assert settings.autoscale


def test_what_has_changed_in_the_file_since_it_was_read_is_told_by_its_keys(spool: Path) -> None:
    path = written(spool, 'user = "a"\n[mux]\nmax-workers = 7\n[milter]\nlabel = "x"\n')
    file = parsed("--config", path, "-x", "9").file
    assert file is not None
    assert unread(file) is None
    written(spool, '# The same\nuser = "a"\n[mux]\nmax-workers = 7\n[milter]\nlabel = "another daemon\'s"\n')
    assert unread(file) is None
    written(spool, "[mux]\nmax-workers = 8\nverbose = true\n")
    told = f"{path} has changed since the start, and counts from the next one on: max-workers, user, verbose"
    assert unread(file) == told
    written(spool, "[mux]\nmax-worker = 8\n")
    assert unread(file) == (
        f"the next start would fail: {path}, line 2: no key max-worker in [mux]: is max-workers meant?"
    )
    path.unlink()
    assert unread(file) == f"the next start would fail: {path}: No such file or directory"


def test_file_is_found_again_from_another_directory(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spool)
    file = parsed("--config", written(spool, "[mux]\nmax-workers = 7\n").name).file
    monkeypatch.chdir("/")
    assert file is not None
    assert unread(file) is None


def test_what_follows_from_other_settings_follows_from_those_of_the_file(spool: Path) -> None:
    settings = parsed("--config", written(spool, 'spool = "/sp"\n[mux]\nmax-workers = 400\n')).settings
    assert settings.socket == Path("/sp/mimedefang-multiplexor.sock")
    assert settings.backlog == 100


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("queue-size = 1025", "line 2: queue-size: 1024 at most"),
        ("label = ''", "line 2: label: an empty value"),
        ("log-to = 'file'", "line 2: log-to: one of auto, syslog, journal, stderr, not 'file'"),
        ("worker = 'w'", "line 2: worker: an absolute path is wanted"),
        ("print-config = true", "line 2: no key print-config in [mux]"),
        ("config = '/x'", "line 2: no key config in [mux]"),
        ("help = true", "line 2: no key help in [mux]"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_line(spool: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        parsed("--config", written(spool, f"[mux]\n{text}\n"))


def test_a_number_out_of_range_is_moved_into_it_with_its_line(spool: Path) -> None:
    found = parsed("--config", written(spool, "[mux]\nbusy-timeout = 1\n"))
    assert found.settings.busy_timeout_s == 10
    assert found.notes == [f"{spool / 'defang.toml'}, line 2: busy-timeout: 1 raised to 10, the least there is"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--writable-dirs", "/a"), "without --landlock"),
        (("--landlock", "--writable-dirs", "/a:b"), "'b' is no absolute path"),
        (("--landlock", "--writable-dirs", "/a:"), "'' is no absolute path"),
    ],
)
def test_writable_directories_are_absolute_and_for_landlock(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        parsed(*words)


def test_a_setting_that_is_not_utf_8_cannot_be_printed() -> None:
    with pytest.raises(UsageError, match="label: not UTF-8"):
        as_config(parsed("-Y", "\udcff").settings)


def test_the_example_in_the_documents_says_the_defaults(spool: Path) -> None:
    match = re.search("```toml\n(.*?)```", EXAMPLE.read_text(), re.DOTALL)
    assert match
    found = parsed("--config", written(spool, match[1]))
    assert found.notes == []
    assert (
        found.settings
        == parsed(*shlex.split("-U defang -f /usr/local/bin/defang-worker -F /etc/mail/defang-filter.py")).settings
    )
