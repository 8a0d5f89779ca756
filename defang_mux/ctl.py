# SPDX-License-Identifier: GPL-3.0-or-later
"""md-mx-ctrl: asks a multiplexor, ours or MIMEDefang's, and prints its reply, some of them laid out for people.

A client of the request socket and nothing more. Texts and exit statuses are those of the original,
which monitors read by position (protocol.md, Control command). `layouts` has what is laid out.
"""

import errno
import getopt
import os
import socket
import sys
from contextlib import suppress
from typing import Final, TextIO

from defang_common import __version__
from defang_common.wire import percent
from defang_mux import ctl_questions, layouts
from defang_mux.ctl_questions import Question
from defang_mux.settings import DEFAULT_SPOOL, SOCKET_NAME, Option, described, getopt_words

DEFAULT_SOCKET: Final = f"{DEFAULT_SPOOL}/{SOCKET_NAME}"

OPTIONS: Final = (
    Option("s", "socket", "", f"the multiplexor's request socket (default: {DEFAULT_SOCKET})", "PATH"),
    Option("i", "interactive", "", "read commands from standard input, a line each"),
    Option("v", "version", "", "print the version"),
    Option("h", "help", "", "print this text, and the commands of the multiplexor if one runs"),
)

_PROGRAM: Final = "md-mx-ctrl"
USAGE: Final = f"usage: {_PROGRAM} [-s PATH] [-i] [-v] [-h] [command]\n"
HELP: Final = f"{USAGE}\noptions:\n{described(OPTIONS)}\n"

_READ_BYTES: Final = 65536
# A monitor is to hear of a multiplexor that does not answer, and not to wait with it.
_QUESTION_LIMIT_S: Final = 10.0
# What a missing permission is, is no question of whether somebody serves there.
_NOT_ABSENCE: Final = frozenset({errno.EACCES, errno.EPERM})


class AskFailed(Exception):
    """No reply could be had; the message is what the original prints."""


def ask(path: str, line: bytes, limit_s: float | None = None) -> bytes:
    """The whole reply to a line (without newline); raises `AskFailed`, also after `limit_s` of silence."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(limit_s)
        try:
            connection.connect(path)
        except OSError as error:
            hint = "" if error.errno in _NOT_ABSENCE else ": Is multiplexor running?"
            raise AskFailed(f"ERROR MXCommand: connect: {path}: {error.strerror or error}{hint}") from None
        try:
            connection.sendall(line + b"\n")
            pieces = iter(lambda: connection.recv(_READ_BYTES), b"")
            return b"".join(pieces)
        except OSError as error:
            raise AskFailed(f"ERROR MXCommand: {path}: {error.strerror or error}") from None


def run(path: str, typed: str, line: bytes, *, out: TextIO, err: TextIO) -> int:
    """Carries out one command and prints; the exit status.

    `typed` is the command as words with single blanks, which picks the layout; `line` is what is sent where
    there is none.
    """
    question = ctl_questions.find(typed)
    if question is not None:
        return _put(path, question, out=out, err=err)
    layout = layouts.find(typed)
    try:
        reply = ask(path, line if layout is None else layout.request.encode("ascii", "surrogateescape"))
        text = _text(percent.decode(reply)) if layout is None else layout.lay_out(_text(reply))
    except AskFailed as error:
        print(error, file=err)
        return 1
    except layouts.Unfit as error:
        print(error, file=err if error.is_error_reply else out)
        return 1
    if text and (layout is None or layout.ends_line) and not text.endswith("\n"):
        text += "\n"
    out.write(text)
    return 0


def _put(path: str, question: Question, *, out: TextIO, err: TextIO) -> int:
    try:
        reply = ask(path, question.request.encode("ascii", "surrogateescape"), _QUESTION_LIMIT_S)
    except AskFailed as error:
        print(error, file=err)
        return question.silent_status
    text, status = question.show(_text(reply))
    (err if text.startswith("error: ") else out).write(text)
    return status


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 for any reply that could be shown, 1 otherwise; that of `health` tells the level."""
    try:
        status = _main(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # A reader that has seen enough (`| head`). What is still in the buffer must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _main(argv: list[str] | None) -> int:
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # a TextIOWrapper, in a program
    path, interactive, wants_help = DEFAULT_SOCKET, False, False
    try:
        found, words = getopt.getopt(sys.argv[1:] if argv is None else argv, *getopt_words(OPTIONS))
    except getopt.GetoptError as error:
        print(f"{USAGE}{_PROGRAM}: {error.msg}", file=sys.stderr)
        return 1
    for option, value in found:
        match option:
            case "-s" | "--socket":
                path = value
            case "-i" | "--interactive":
                interactive = True
            case "-v" | "--version":
                print(f"{_PROGRAM} version {__version__}")
                return 0
            case _:
                wants_help = True
    if wants_help or not (words or interactive):
        return _help(path, asked=wants_help)
    if interactive:
        return _converse(path)
    line = b" ".join(percent.encode(os.fsencode(word)) for word in words)
    status = run(path, " ".join(words), line, out=sys.stdout, err=sys.stderr)
    if words == ["status"] and status == 0:
        sys.stdout.write(_protections(path))
    return status


def _protections(path: str) -> str:
    """What stands below the status of workers; nothing if the multiplexor knows no protections.

    One that has no such command would pass it on to a worker, so its list of commands is asked for first. Programs
    that read what is printed by its place (with `-i`, as the original's monitors do) are not shown it.
    """
    try:
        if b"\nprotections " not in ask(path, b"help", _QUESTION_LIMIT_S):
            return ""
        lines = _text(ask(path, b"protections", _QUESTION_LIMIT_S)).splitlines()
    except AskFailed:
        return ""
    return "\nProtections of workers:\n" + "".join(f"  {line}\n" for line in lines)


def _help(path: str, *, asked: bool) -> int:
    """Usage and commands, in one place: for a pager if they were asked for, else as an error."""
    to = sys.stdout if asked else sys.stderr
    to.write(HELP)
    # Whoever asks what can be typed did not ask whether a multiplexor runs.
    with suppress(AskFailed):
        to.write(_text(percent.decode(ask(path, b"help"))))
    return 0 if asked else 1


def _converse(path: str) -> int:
    """Commands from standard input, sent as typed; one that fails does not end the others."""
    for typed in sys.stdin.buffer:
        line = typed.rstrip(b"\r\n")
        run(path, _text(line), line, out=sys.stdout, err=sys.stdout)
        sys.stdout.flush()
    return 0


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


if __name__ == "__main__":
    sys.exit(main())
