# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a trial's envelope comes from: words of the command, COMMANDS beside the message, and the usual values."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from defang_common.wire.errors import Malformed
from defang_worker import command_line
from defang_worker.trial.given_session import session_for
from defang_worker.trial.options import DEFAULTS

COMMANDS = (
    b"S<a%20b@site.example>\nsSIZE=5\n=auth_authen bob\nQ4Q1\nHmail.site.example\nI192.0.2.7\nEhelo.site.example\n"
    b"R<r1@site.example> esmtp host r1\nR<r2@site.example> ? ? ?\nF\n"
)


@pytest.fixture
def message(tmp_path: Path) -> str:
    (tmp_path / "COMMANDS").write_bytes(COMMANDS)
    return str(tmp_path / "INPUTMSG")


def args(*words: str) -> Namespace:
    return command_line.parser().parse_args(["test-mail", *words, "x"])


def test_envelope_of_a_kept_directory_is_that_of_its_commands(message: str) -> None:
    session = session_for(args(), message)
    assert (session.sender, session.sender_args) == ("<a b@site.example>", ("SIZE=5",))
    assert session.recipients == ("<r1@site.example>", "<r2@site.example>")
    assert (session.relay_ip, session.relay_host, session.helo) == (
        "192.0.2.7", "mail.site.example", "helo.site.example",
    )  # fmt: skip
    assert (session.queue_id, session.macros) == ("4Q1", {"auth_authen": "bob"})


def test_words_of_the_command_win(message: str) -> None:
    words = ["--from", "c@x.example", "--to", "d@x.example", "--helo", "", "--queue-id", "Z9", "--macro", "k=v"]
    session = session_for(args(*words), message)
    assert (session.sender, session.recipients, session.helo) == ("c@x.example", ("d@x.example",), "")
    assert (session.queue_id, session.macros) == ("Z9", {"auth_authen": "bob", "k": "v"})
    assert session.relay_ip == "192.0.2.7"


def test_message_without_commands_has_the_usual_session(tmp_path: Path) -> None:
    assert session_for(args(), str(tmp_path / "INPUTMSG")) == DEFAULTS
    assert session_for(args("--relay-host", "h.example"), "some.eml").helo == "h.example"


def test_commands_beside_any_other_file_do_not_count(message: str) -> None:
    assert session_for(args(), message + ".eml") == DEFAULTS


def test_damaged_commands_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "COMMANDS").write_bytes(b"rNOTIFY=NEVER\n")
    with pytest.raises(Malformed):
        session_for(args(), str(tmp_path / "INPUTMSG"))
