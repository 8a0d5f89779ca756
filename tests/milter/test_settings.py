# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line, letter by letter."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest

from defang_milter.command_line import parse
from defang_milter.settings import DEFAULT_SCANNED_BY, OPTIONS, Kind, Settings

# getopt string of mimedefang(8), as protocol.md has it.
ORIGINAL_LETTERS = "GNCDHL:MP:o:R:S:TU:Xa:b:cdhkm:p:qrstvx:z:y"

QUESTIONS = {Kind.VERSION, Kind.HELP}
WITHOUT_ARGUMENT = {Kind.FLAG, *QUESTIONS}
SETTING = [option for option in OPTIONS if option.letter and option.kind not in QUESTIONS]


def _parse(*words: str) -> Settings:
    return parse(["-p", "unix:/run/x", *words])


def test_every_letter_of_the_original_is_there_and_takes_an_argument_where_it_did() -> None:
    ours = {option.letter: option.kind not in WITHOUT_ARGUMENT for option in OPTIONS if option.letter}
    theirs = {
        letter: ORIGINAL_LETTERS[at + 1 : at + 2] == ":"
        for at, letter in enumerate(ORIGINAL_LETTERS)
        if letter in string.ascii_letters
    }
    assert ours == theirs


def test_defaults_are_those_of_the_original() -> None:
    settings = _parse()
    assert settings.spool == Path("/var/spool/MIMEDefang")
    assert settings.mux_socket == Path("/var/spool/MIMEDefang/mimedefang-multiplexor.sock")
    assert (settings.reserve, settings.facility, settings.backlog, settings.user) == (-1, "mail", None, None)
    assert settings.scanned_by == DEFAULT_SCANNED_BY
    assert settings.macros == ()
    assert settings.ip_key_file == Path("/etc/mail/mimedefang-ip-key")
    assert (settings.mux_timeout_s, settings.progress_interval_s, settings.stop_grace_s) == (600, 5, 30)


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("-p inet:1@127.0.0.1", "socket", "inet:1@127.0.0.1"),
        ("-m /run/m", "mux_socket", Path("/run/m")),
        ("-U someone", "user", "someone"),
        ("-z /spool", "spool", Path("/spool")),
        ("-z /spool", "mux_socket", Path("/spool/mimedefang-multiplexor.sock")),
        ("-r", "relay_check", True),
        ("-H", "helo_check", True),
        ("-s", "sender_check", True),
        ("-t", "recipient_check", True),
        ("-q", "queue_connections", True),
        ("-R 3", "reserve", 3),
        ("-R -1", "reserve", -1),
        ("-L 192.0.2.1", "loopback_alias", "192.0.2.1"),
        ("-k", "keep_failed", True),
        ("-d", "keep_all", True),
        ("-C", "reopen_files", True),
        ("-T", "log_filter_time", True),
        ("-x text", "scanned_by", "text"),
        ("-X", "scanned_by", None),
        ("-a one -a {two}", "macros", ("one", "two")),
        ("-y", "send_macro_lists", True),
        ("-N", "no_rejected_recipients", True),
        ("-c", "strip_bare_cr", True),
        ("-b 5", "backlog", 5),
        ("-G", "group_access", True),
        ("-P /run/p", "pid_file", Path("/run/p")),
        ("-o /run/l", "lock_file", Path("/run/l")),
        ("-S LOG_LOCAL3", "facility", "LOG_LOCAL3"),
        ("-D", "foreground", True),
        ("-rHst", "recipient_check", True),
        ("--log-to stderr", "log_to", "stderr"),
        ("--ip-key-file /k", "ip_key_file", Path("/k")),
        ("--mux-timeout 2.5", "mux_timeout_s", 2.5),
        ("--mux-start-timeout 1", "mux_start_timeout_s", 1),
        ("--progress-interval 3", "progress_interval_s", 3),
        ("--stop-grace 4", "stop_grace_s", 4),
        ("-m /first -m /last", "mux_socket", Path("/last")),
    ],
)
def test_an_option_sets_its_field(words: str, field: str, value: Any) -> None:
    assert getattr(_parse(*words.split()), field) == value


@pytest.mark.parametrize("option", SETTING, ids=lambda option: option.name)
def test_a_long_name_means_what_its_letter_means(option: Any) -> None:
    argument = {Kind.FLAG: [], Kind.NUMBER: ["7"], Kind.FACILITY: ["local0"]}.get(option.kind, ["/word"])
    assert _parse(f"-{option.letter}", *argument) == _parse(f"--{option.name}", *argument)


def test_an_empty_text_means_no_scanned_by() -> None:
    assert _parse("-x", "").scanned_by is None


def test_empty_words_are_passed_over() -> None:
    assert _parse("", "-r", "", "-R", "2", "") == _parse("-r", "-R", "2")


def test_paths_are_absolute_from_where_the_command_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _parse("-z", "spool").spool == tmp_path / "spool"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-p", "x", "word"], "unexpected: word"),
        (["-p", "x", "-Z"], "unexpected: -Z"),
        (["-p", "x", "--spoo", "/x"], "unexpected"),
        ([], "-p is missing"),
        (["-p", "x", "-x", "a", "-X"], "exclude"),
        (["-p", "x", "-b", "4"], "at least 5"),
        (["-p", "x", "-R", "many"], "'many'"),
        (["-p", "x", "-S", "nothing"], "nothing"),
        (["-p", "x", "--mux-timeout", "0"], "'0'"),
        (["-p", "x", "--mux-timeout", "nan"], "'nan'"),
        (["-p", "x", "-m"], "expected one argument"),
        (["-p", "x", "-x", "caf\udce9"], "not UTF-8"),
        (["-p", "x", "-x", "a\nX-Other: b"], "control characters"),
        (["-p", "x", "-a", "{}"], "an empty name"),
        (["-p", "inet:99999@127.0.0.1"], "port out of range: 99999"),
        (["-p", "/s/mimedefang-multiplexor.sock", "-z", "/s"], "the same socket: /s/mimedefang-multiplexor.sock"),
        (["-p", "unix:/s/../x", "-m", "/x"], "the same socket: /x"),
        (["-p", "x", "-z", "/s", "-m", "/s/x"], "the same socket: /s/x"),
    ],
)
def test_nonsense_is_refused_with_its_reason(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(words)
    assert stopped.value.code == 1
    assert complaint in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("word", ["-v", "--version", "-h", "--help"])
def test_questions_are_answered_and_are_no_error(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse([word])
    assert stopped.value.code == 0
    assert "defang-milter" in capsys.readouterr().out


def test_the_help_text_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["-h"])
    text = capsys.readouterr().out
    assert [option.name for option in OPTIONS if f"--{option.name}" not in text] == []
